//! How far a listing has come. What a store says of its next page is heeded only while it leads on: a
//! listing that goes in circles, or never comes to an end, is an error.

use super::Page;
use crate::model::{Failure, FailureClass};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Pages without an object in a row. S3 sends some where it skips what was deleted.
const EMPTY_PAGES_MAX: u32 = 1_000;

/// Where a listing stands. Start with the default, and hand every page to [`advance`](Self::advance).
#[derive(Debug, Default)]
pub struct ListingProgress {
    pages: u64,
    /// A token seen before, and the page at which another one takes its place: each time twice as far,
    /// so that a circle of any length is found with one token in memory.
    remembered: Option<u64>,
    remember_at: u64,
    /// The first key of the last page that had one.
    first_key: Option<u64>,
    empty_pages: u32,
}

impl ListingProgress {
    /// Where the next page begins; `None` after the last.
    ///
    /// # Errors
    ///
    /// If the listing does not lead on.
    pub fn advance(&mut self, page: &Page) -> Result<Option<String>, Failure> {
        let first_key = page.objects.first().map(|object| hash(&object.key));
        self.empty_pages = if first_key.is_some() { 0 } else { self.empty_pages + 1 };
        if first_key.is_some() && first_key == self.first_key {
            return Err(contradiction("the listing repeats a page"));
        }
        self.first_key = first_key.or(self.first_key);
        let Some(token) = &page.next else { return Ok(None) };
        if self.empty_pages >= EMPTY_PAGES_MAX {
            return Err(contradiction("the listing goes on without an object"));
        }
        let token_hash = hash(token);
        if self.remembered == Some(token_hash) {
            return Err(contradiction("the listing goes in a circle"));
        }
        if self.pages >= self.remember_at {
            self.remembered = Some(token_hash);
            self.remember_at = (self.pages * 2).max(1);
        }
        self.pages += 1;
        Ok(Some(token.clone()))
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn contradiction(message: &str) -> Failure {
    Failure {
        class: FailureClass::Object,
        code: "listing-contradicts-itself".into(),
        message: message.into(),
        answer_lost: false,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::ListedObject;

    fn page(key: Option<&str>, next: Option<&str>) -> Page {
        let object = |key: &str| ListedObject { key: key.into(), size: 1, ..Default::default() };
        Page { objects: key.map(object).into_iter().collect(), next: next.map(str::to_owned) }
    }

    /// How many pages are read of a store that answers with these.
    fn pages_read(mut page_of: impl FnMut(u64) -> Page) -> (u64, Option<String>) {
        let mut progress = ListingProgress::default();
        for number in 0..1_000_000 {
            match progress.advance(&page_of(number)) {
                Ok(Some(_)) => {}
                Ok(None) => return (number + 1, None),
                Err(failure) => return (number + 1, Some(failure.code)),
            }
        }
        unreachable!("the listing has no end")
    }

    #[test]
    fn a_listing_is_read_to_its_end() {
        let honest = |number: u64| {
            let next = (number < 5_000).then(|| number.to_string());
            page(Some(&format!("{number:09}")), next.as_deref())
        };
        assert_eq!(pages_read(honest), (5_001, None));
        let sparse = |number: u64| {
            let key = number.is_multiple_of(900).then(|| number.to_string());
            page(key.as_deref(), (number < 9_000).then(|| number.to_string()).as_deref())
        };
        assert_eq!(pages_read(sparse), (9_001, None));
    }

    #[test]
    fn a_listing_without_an_end_is_an_error_before_long() {
        let refused = Some("listing-contradicts-itself".to_owned());
        let same = pages_read(|_| page(Some("a"), Some("token")));
        assert_eq!(same, (2, refused.clone()));
        let circle = pages_read(|number| {
            let at = (number % 7).to_string();
            page(Some(&at), Some(&at))
        });
        assert!(circle.0 < 32 && circle.1 == refused, "{circle:?}");
        let new_tokens = pages_read(|number| page(Some("a"), Some(&number.to_string())));
        assert_eq!(new_tokens, (2, refused.clone()));
        let empty = pages_read(|number| page(None, Some(&number.to_string())));
        assert_eq!(empty, (u64::from(EMPTY_PAGES_MAX), refused));
    }
}
