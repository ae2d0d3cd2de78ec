//! What an operator may say of an object.

/// What an object carries because the operator said so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Instead of the guessed one.
    pub content_type: Option<String>,
    /// For caches on the way.
    pub cache_control: Option<String>,
    /// Shown, or saved under which name.
    pub content_disposition: Option<String>,
    /// How the bytes are packed.
    pub content_encoding: Option<String>,
    /// What it costs to keep and to fetch.
    pub storage_class: Option<String>,
    /// How it is encrypted where it lies.
    pub encryption: Option<Encryption>,
    /// Names and values, beside ours.
    pub metadata: Vec<(String, String)>,
    /// Names and values, for policies and bills.
    pub tags: Vec<(String, String)>,
}

/// How the store encrypts an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of its own.
    Aes256,
    /// With a key of the key service, named or the account's own.
    Kms {
        /// Id, alias or ARN.
        key: Option<String>,
        /// Twice, for those who have to.
        dual_layer: bool,
    },
}

/// Which checksum goes with the bytes, for the store to compare and to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME: the one the record keeps, and the only one that tells an object's content later.
    Crc64Nvme,
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// None: TLS, or the signature, is all there is.
    None,
}

impl Encryption {
    /// As S3 names it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms { dual_layer: false, .. } => "aws:kms",
            Self::Kms { dual_layer: true, .. } => "aws:kms:dsse",
        }
    }

    /// The key, if one is named.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Aes256 => None,
            Self::Kms { key, .. } => key.as_deref(),
        }
    }
}

impl Attributes {
    /// Hands out all but the content type, each in its place: names and values in an order that does
    /// not depend on how they were written down.
    pub(super) fn texts(&self, text: &mut impl FnMut(&str)) {
        let encryption = self.encryption.as_ref();
        for one in [
            self.cache_control.as_deref(),
            self.content_disposition.as_deref(),
            self.content_encoding.as_deref(),
            self.storage_class.as_deref(),
            encryption.map(Encryption::as_str),
            encryption.and_then(Encryption::key),
        ] {
            text(one.unwrap_or_default());
        }
        for several in [&self.metadata, &self.tags] {
            let mut sorted: Vec<_> = several.iter().collect();
            sorted.sort();
            for (name, value) in sorted {
                text(name);
                text(value);
            }
            text("");
        }
    }
}
