//! Checksums on the wire. The record's own is always CRC-64/NVME, computed while the file was read;
//! another one, for a store that wants it, is computed here from the bytes that are sent.

use crate::rules::Checksum;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::ChecksumAlgorithm;
use crc_fast::CrcAlgorithm;

/// A request with bytes of a file.
pub(super) trait CarriesBytes: Sized {
    /// Says which bytes. Given by hand, a checksum keeps the SDK from adding one of its own.
    fn checksum(self, algorithm: Checksum, body: &[u8], crc64nvme: u64) -> Self;
}

/// The builders of the SDK have the same methods, and no trait in common.
macro_rules! carries_bytes {
    ($($builder:ty),*) => {$(
        impl CarriesBytes for $builder {
            fn checksum(self, algorithm: Checksum, body: &[u8], crc64nvme: u64) -> Self {
                match algorithm {
                    Checksum::Crc64Nvme => self.checksum_crc64_nvme(encode(crc64nvme)),
                    Checksum::Crc32 => {
                        self.checksum_crc32(encode32(CrcAlgorithm::Crc32IsoHdlc, body))
                    }
                    Checksum::Crc32c => {
                        self.checksum_crc32_c(encode32(CrcAlgorithm::Crc32Iscsi, body))
                    }
                    Checksum::None => self,
                }
            }
        }
    )*};
}
carries_bytes!(PutObjectFluentBuilder, UploadPartFluentBuilder);

/// As S3 names it; `None` where there is none.
pub(super) fn to_sdk(algorithm: Checksum) -> Option<ChecksumAlgorithm> {
    match algorithm {
        Checksum::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Checksum::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Checksum::Crc32c => Some(ChecksumAlgorithm::Crc32C),
        Checksum::None => None,
    }
}

/// As S3 writes checksums: base64 of the bytes, the highest first.
pub(super) fn encode(crc64nvme: u64) -> String {
    aws_smithy_types::base64::encode(crc64nvme.to_be_bytes())
}

/// Reads what [`encode`] or the store wrote.
pub(super) fn decode(text: &str) -> Option<u64> {
    let bytes = aws_smithy_types::base64::decode(text).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn encode32(algorithm: CrcAlgorithm, body: &[u8]) -> String {
    let checksum = crc_fast::checksum(algorithm, body);
    let [_, _, _, _, low @ ..] = checksum.to_be_bytes();
    aws_smithy_types::base64::encode(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each algorithm's check value is that of these bytes.
    const CHECKED: &[u8] = b"123456789";

    #[test]
    fn checksums_are_written_as_s3_does() {
        assert_eq!(encode(0xae8b_1486_0a79_9888), "rosUhgp5mIg=");
        assert_eq!(decode("rosUhgp5mIg="), Some(0xae8b_1486_0a79_9888));
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, CHECKED), 0xae8b_1486_0a79_9888);
        // 0xcbf43926 and 0xe3069283.
        assert_eq!(encode32(CrcAlgorithm::Crc32IsoHdlc, CHECKED), "y/Q5Jg==");
        assert_eq!(encode32(CrcAlgorithm::Crc32Iscsi, CHECKED), "4waSgw==");
    }
}
