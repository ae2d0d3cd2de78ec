//! The object attributes that an operator can set.

/// The object attributes from the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Replaces the guessed content type.
    pub content_type: Option<String>,
    /// The `Cache-Control` header.
    pub cache_control: Option<String>,
    /// The `Content-Disposition` header.
    pub content_disposition: Option<String>,
    /// The `Content-Encoding` header.
    pub content_encoding: Option<String>,
    /// The storage class.
    pub storage_class: Option<String>,
    /// The server-side encryption.
    pub encryption: Option<Encryption>,
    /// The canned ACL, which grants access to others than the owner.
    pub acl: Option<String>,
    /// Metadata besides our own.
    pub metadata: Vec<(String, String)>,
    /// Tags for policies and billing.
    pub tags: Vec<(String, String)>,
    /// The form of the file's time, permissions and owner in the metadata.
    pub posix_metadata: PosixMetadata,
}

/// The form of a file's attributes in the metadata of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PosixMetadata {
    /// Neither form: only the time, under a name of this service, which recognises objects by it.
    None,
    /// Time and mode as rclone writes them.
    #[default]
    Rclone,
    /// Time, permissions and owner as S3 Files, FSx for Lustre and DataSync write them.
    S3Files,
    /// Both forms.
    Both,
}

/// The name of the file's time as rclone writes it: seconds since the epoch with a fraction.
pub const MTIME: &str = "mtime";
/// The name of the file's mode beside it, octal.
pub const MODE: &str = "mode";
/// The name of the file's time as S3 Files, FSx and DataSync write it: nanoseconds since the epoch, and `ns`.
pub const FILE_MTIME: &str = "file-mtime";
/// The name of kind and permissions beside it, octal.
pub const FILE_PERMISSIONS: &str = "file-permissions";
/// The name of the user id of the file's owner, decimal.
pub const FILE_OWNER: &str = "file-owner";
/// The name of the group id of the file's owner, decimal.
pub const FILE_GROUP: &str = "file-group";

/// How the store encrypts an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3.
    Aes256,
    /// With a key of the key service, a named one or that of the account.
    Kms {
        /// Id, alias or ARN.
        key: Option<String>,
        /// Whether it is encrypted twice.
        dual_layer: bool,
    },
}

/// The checksum of uploaded bytes, which the store verifies and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME: the one in the state, and the only one that identifies the content of an object
    /// later.
    Crc64Nvme,
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// None: only TLS, or the signature, protects the bytes.
    None,
}

impl PosixMetadata {
    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rclone => "rclone",
            Self::S3Files => "s3-files",
            Self::Both => "both",
        }
    }

    /// Whether objects have what rclone reads.
    #[must_use]
    pub fn has_rclone(self) -> bool {
        matches!(self, Self::Rclone | Self::Both)
    }

    /// Whether objects have what S3 Files, FSx and DataSync read.
    #[must_use]
    pub fn has_s3_files(self) -> bool {
        matches!(self, Self::S3Files | Self::Both)
    }

    /// The names of metadata that no rule can use.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let rclone = self.has_rclone().then_some([MTIME, MODE]);
        let names = [FILE_MTIME, FILE_PERMISSIONS, FILE_OWNER, FILE_GROUP];
        let s3_files = self.has_s3_files().then_some(names);
        rclone.into_iter().flatten().chain(s3_files.into_iter().flatten())
    }
}

impl Encryption {
    /// The name in S3.
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
    /// Passes on all attributes except the content type: names and values in a canonical order.
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
        // Objects without an ACL keep the digest of earlier versions.
        if let Some(acl) = &self.acl {
            text(acl);
        }
        // Neither do those with the metadata of earlier versions. No ACL has such a name.
        if self.posix_metadata != PosixMetadata::default() {
            text(self.posix_metadata.as_str());
        }
    }
}
