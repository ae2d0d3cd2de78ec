//! The documents CloudFront takes and gives. Just enough XML for those.

use super::Invalidation;

/// Characters no path may hold as they are, beside what is not ASCII.
const UNSAFE: &str = " \"#<>[\\]^`{|}~";
/// The longest tag.
const TAG_BYTES_MAX: usize = 256;
/// The longest path.
const PATH_BYTES_MAX: usize = 4_000;

/// Why CloudFront does not do it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
}

/// What `CreateInvalidation` is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) reference: String,
    pub(super) paths: Vec<String>,
    quantity: Option<usize>,
}

impl Wanted {
    pub(super) fn read(body: &str) -> Self {
        let first = |name| elements(body, name).next();
        Self {
            reference: first("CallerReference").unwrap_or_default(),
            paths: elements(body, "Path").collect(),
            quantity: first("Quantity").and_then(|text| text.parse().ok()),
        }
    }

    /// What CloudFront would say of it.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.quantity != Some(self.paths.len()) {
            return Err(Refusal { status: 400, code: "InconsistentQuantities" });
        }
        if self.reference.is_empty()
            || self.paths.is_empty()
            || !self.paths.iter().all(|path| is_path(path) || is_tag(path))
        {
            return Err(Refusal { status: 400, code: "InvalidArgument" });
        }
        Ok(())
    }
}

fn is_tag(item: &str) -> bool {
    let tag = item.strip_prefix('#').filter(|tag| (1..=TAG_BYTES_MAX).contains(&tag.len()));
    tag.is_some_and(|tag| tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','))
}

fn is_path(path: &str) -> bool {
    let plain = |char: char| char.is_ascii_graphic() && !UNSAFE.contains(char);
    let star = path.find('*').is_none_or(|at| at + 1 == path.len());
    let escapes = path.split('%').skip(1).all(|rest| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path.chars().all(plain)
        && star
        && escapes
}

/// The contents of all elements of this name that have no attributes.
fn elements<'a>(document: &'a str, name: &str) -> impl Iterator<Item = String> + 'a {
    let begin = format!("<{name}>");
    let end = format!("</{name}>");
    let mut rest = document;
    std::iter::from_fn(move || {
        let (_, behind) = rest.split_once(&begin)?;
        let (content, behind) = behind.split_once(&end)?;
        rest = behind;
        Some(unescaped(content))
    })
}

fn unescaped(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'")];
    let text = named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) fn invalidation(invalidation: &Invalidation) -> String {
    let Invalidation { id, reference, paths, completed } = invalidation;
    let status = if *completed { "Completed" } else { "InProgress" };
    let items: String =
        paths.iter().map(|path| format!("<Path>{}</Path>", escaped(path))).collect();
    format!(
        "<?xml version=\"1.0\"?>\n\
         <Invalidation xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><Id>{id}</Id>\
         <Status>{status}</Status><CreateTime>2026-11-22T00:00:00.000Z</CreateTime>\
         <InvalidationBatch><Paths><Quantity>{}</Quantity><Items>{items}</Items></Paths>\
         <CallerReference>{}</CallerReference></InvalidationBatch></Invalidation>",
        paths.len(),
        escaped(reference),
    )
}

pub(super) fn error(refusal: &Refusal) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n\
         <ErrorResponse xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><Error>\
         <Type>Sender</Type><Code>{}</Code><Message>A refusal.</Message></Error>\
         <RequestId>1</RequestId></ErrorResponse>",
        refusal.code
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_were_written_and_checked_as_cloudfront_does() {
        let body = "<InvalidationBatch><Paths><Quantity>2</Quantity><Items><Path>/a&amp;b</Path>\
             <Path>/c/*</Path></Items></Paths><CallerReference>r</CallerReference></InvalidationBatch>";
        let wanted = Wanted::read(body);
        assert_eq!((&*wanted.reference, wanted.check()), ("r", Ok(())));
        assert_eq!(wanted.paths, ["/a&b", "/c/*"]);
        for path in ["/", "/a%20b", "/a+b", "/*", "/a*", "/@!$'()"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "a", "/a b", "/~", "/[1]", "/a*b", "/%2", "/ü", "/100%"] {
            assert!(!is_path(path), "{path}");
        }
        assert!(is_tag("#/a/") && is_tag("#product:tv"));
        for tag in ["", "#", "/a", "#a b", "#a,b", "#ü", &format!("#{}", "a".repeat(257))] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
