//! Entity tags that identify the content of an object.
//!
//! Most stores use the MD5 sum of an object that was sent by one request as its entity tag. That of an
//! object sent in parts is the MD5 sum of the sums of its parts, a hyphen and their number; it can be
//! computed if the size of the parts is known, so the sizes in use are tried.

use md5::{Digest, Md5};

/// Part sizes of common clients, MiB: the AWS SDKs and rclone 5, aws-cli 8, MinIO's client 16, s3cmd 15,
/// s5cmd 50, and powers of two.
const COMMON_PART_MIB: [u64; 10] = [5, 8, 10, 15, 16, 32, 50, 64, 100, 128];
const MIB: u64 = 1 << 20;
/// Hexadecimal digits of an MD5 sum.
const DIGITS: usize = 32;

/// Compares bytes with an entity tag while they are read.
#[derive(Debug)]
pub(super) struct TagSum {
    wanted: String,
    layouts: Vec<Layout>,
    in_parts: bool,
}

impl TagSum {
    /// For an object of `size` bytes with this entity tag, as the store sends it. `own_part_size` is a
    /// part size to try beside the common ones. `None` if the tag is not made of MD5 sums, or if no known
    /// part size gives its number of parts.
    pub(super) fn new(tag: &str, size: u64, own_part_size: u64) -> Option<Self> {
        let plain = tag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let (sum, parts) = match plain.split_once('-') {
            Some((sum, parts)) => (sum, Some(parts.parse::<u64>().ok()?)),
            None => (plain.as_str(), None),
        };
        if sum.len() != DIGITS || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let sizes = match parts {
            None => vec![size.max(1)],
            Some(parts) => part_sizes(size, parts, own_part_size),
        };
        let layouts: Vec<_> = sizes.into_iter().map(Layout::new).collect();
        (!layouts.is_empty()).then_some(Self { wanted: plain, layouts, in_parts: parts.is_some() })
    }

    /// Takes the next bytes of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for layout in &mut self.layouts {
            layout.update(bytes);
        }
    }

    /// Whether the bytes are those of the object; `None` if the size of its parts was not found, so that
    /// the tag says nothing.
    pub(super) fn verdict(self) -> Option<bool> {
        let Self { wanted, layouts, in_parts } = self;
        let equal = layouts.into_iter().any(|layout| layout.tag(in_parts) == wanted);
        (equal || !in_parts).then_some(equal)
    }
}

/// Sizes of which it takes just so many `parts` to hold `size` bytes.
fn part_sizes(size: u64, parts: u64, own: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = COMMON_PART_MIB.into_iter().map(|mib| mib * MIB).collect();
    sizes.push(own);
    if parts == 1 {
        sizes.push(size.max(1));
    }
    sizes.retain(|&part| part > 0 && size.div_ceil(part).max(1) == parts);
    sizes.sort_unstable();
    sizes.dedup();
    if parts == 1 {
        // However large the part may be, it holds the whole.
        sizes.truncate(1);
    }
    sizes
}

/// The sums of the parts of one size.
#[derive(Debug)]
struct Layout {
    part_size: u64,
    /// Bytes that the open part can still take.
    room: u64,
    part: Md5,
    parts: Md5,
    count: u64,
}

impl Layout {
    fn new(part_size: u64) -> Self {
        Self { part_size, room: part_size, part: Md5::new(), parts: Md5::new(), count: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.room == 0 {
                self.end_part();
            }
            let length = usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(length);
            self.part.update(now);
            self.room -= length as u64;
            bytes = later;
        }
    }

    fn end_part(&mut self) {
        self.parts.update(self.part.finalize_reset());
        self.count += 1;
        self.room = self.part_size;
    }

    fn tag(mut self, in_parts: bool) -> String {
        if !in_parts {
            return hex(&self.part.finalize());
        }
        self.end_part();
        format!("{}-{}", hex(&self.parts.finalize()), self.count)
    }
}

fn hex(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(tag: &str, bytes: &[u8], own: u64) -> Option<bool> {
        let mut sum = TagSum::new(tag, bytes.len() as u64, own)?;
        for piece in bytes.chunks(1_000_003) {
            sum.update(piece);
        }
        sum.verdict()
    }

    #[test]
    fn a_tag_of_one_request_is_the_sum_of_the_bytes() {
        let tag = "\"5d41402abc4b2a76b9719d911017c592\"";
        assert_eq!(verdict(tag, b"hello", 0), Some(true));
        assert_eq!(verdict(tag, b"Hello", 0), Some(false));
        assert_eq!(verdict("W/\"5D41402ABC4B2A76B9719D911017C592\"", b"hello", 0), Some(true));
        assert_eq!(verdict("\"d41d8cd98f00b204e9800998ecf8427e\"", b"", 0), Some(true));
    }

    /// As Python's hashlib computes them.
    #[test]
    fn a_tag_of_parts_is_found_by_the_sizes_in_use() {
        const BY_7_MIB: &str = "\"44e59ab2147a35a2d4bd854664f5150f-2\"";
        let mut bytes = vec![b'a'; 11 << 20];
        for (tag, size) in [
            ("\"a24cb680bf8f661c7fd99c2fd4d3ac2d-3\"", "5 MiB"),
            ("\"7dff97dc460a585b52f603e6c67a22d9-2\"", "8 MiB"),
            ("\"d8834651e3a97dfc4e363cf1ef1f4640-1\"", "64 MiB"),
        ] {
            assert_eq!(verdict(tag, &bytes, 0), Some(true), "{size}");
        }
        assert_eq!(verdict(BY_7_MIB, &bytes, 7 << 20), Some(true), "a size of one's own");
        assert_eq!(verdict(BY_7_MIB, &bytes, 0), None, "an unknown size says nothing");
        bytes[0] = b'b';
        assert_eq!(verdict(BY_7_MIB, &bytes, 7 << 20), None, "another size, or other bytes");
    }

    #[test]
    fn what_is_no_sum_is_not_compared() {
        for tag in
            ["", "\"\"", "\"1\"", "\"5d41402abc4b2a76b9719d911017c59x\"", "\"5d4140-1\"", "\"-\""]
        {
            assert_eq!(verdict(tag, b"hello", 0), None, "{tag}");
        }
        assert_eq!(verdict("\"5d41402abc4b2a76b9719d911017c592-0\"", b"hello", 0), None);
    }
}
