//! The status page: three small embedded files. It reads `/status` and changes nothing.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

pub(super) async fn html() -> Response {
    file("text/html; charset=utf-8", HTML)
}

pub(super) async fn css() -> Response {
    file("text/css; charset=utf-8", CSS)
}

pub(super) async fn js() -> Response {
    file("text/javascript; charset=utf-8", JS)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

#[cfg(test)]
mod tests {
    use crate::escape::HOSTILE_RANGES;

    #[test]
    fn the_page_escapes_what_everything_else_escapes() {
        let range = |(first, last)| format!("\\u{{{first:x}}}-\\u{{{last:x}}}");
        let class: String = HOSTILE_RANGES.into_iter().map(range).collect();
        assert!(
            super::JS.contains(&format!("/[{class}]/gu")),
            "write this into page.js: /[{class}]/gu"
        );
    }
}
