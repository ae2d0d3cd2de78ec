//! The key with which a store encrypts objects for a customer who keeps it (SSE-C).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::fmt;

/// The bytes of a key: AES-256.
const KEY_BYTES: usize = 32;
/// Maximum size of a file with a key, in its longest form and with line breaks.
pub const KEY_FILE_BYTES_MAX: u64 = 128;

/// A key. It is not shown anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey([u8; KEY_BYTES]);

impl CustomerKey {
    /// Reads the content of a file: the key itself, or its form in base64 or in hexadecimal digits,
    /// with white space around it.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        if let Ok(key) = content.try_into() {
            return Some(Self(key));
        }
        let text = content.trim_ascii();
        let decoded = match text.len() {
            64 => from_hexadecimal(text),
            _ => BASE64.decode(text).ok(),
        };
        decoded?.try_into().ok().map(Self)
    }

    /// The key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_each_of_its_forms_and_never_shown() {
        let key = *b"0123456789abcdef0123456789abcde\n";
        let hexadecimal = "303132333435363738396162636465663031323334353637383961626364650A";
        let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQo=";
        for content in [&key[..], hexadecimal.as_bytes(), format!("{base64}\n").as_bytes()] {
            let read = CustomerKey::parse(content).expect("a key");
            assert_eq!(read.bytes(), key);
            assert_eq!(format!("{read:?}"), "CustomerKey");
        }
        for content in ["", "key", "MDEyMzQ1Njc4OQ==", "303132333435", &"g".repeat(64)] {
            assert_eq!(CustomerKey::parse(content.as_bytes()), None, "{content}");
        }
    }
}
