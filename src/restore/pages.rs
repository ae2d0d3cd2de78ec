//! Lists the bucket page by page: the present objects, or those of a moment.

use super::versions::{Chosen, VersionChoice};
use crate::model::{Failure, KeyPrefix, UnixMillis};
use crate::transfer::{Fetcher, ListedObject, ListingProgress, Page, VersionPosition};

const NANOS_PER_MILLI: i64 = 1_000_000;

/// A listing under way.
#[derive(Debug)]
pub(super) struct Pages {
    position: Position,
    progress: ListingProgress,
}

/// Where the next page begins.
#[derive(Debug)]
enum Position {
    Start(Option<UnixMillis>),
    Objects(String),
    Versions(VersionPosition, VersionChoice),
    End,
}

/// The objects of a page.
#[derive(Debug, Default)]
pub(super) struct ObjectPage {
    pub(super) objects: Vec<ListedObject>,
    /// Keys of which it is not known what there was.
    pub(super) unknown: Vec<String>,
    /// Whether it is the last one.
    pub(super) is_last: bool,
}

impl Pages {
    /// The present objects, or those at a time.
    pub(super) fn new(at: Option<UnixMillis>) -> Self {
        Self { position: Position::Start(at), progress: ListingProgress::default() }
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(
        &mut self,
        fetcher: &Fetcher,
        prefix: &KeyPrefix,
    ) -> Result<Option<ObjectPage>, Failure> {
        let prefix = prefix.as_str();
        match std::mem::replace(&mut self.position, Position::End) {
            Position::End => Ok(None),
            Position::Start(None) => self.objects(fetcher, prefix, None).await.map(Some),
            Position::Objects(from) => self.objects(fetcher, prefix, Some(from)).await.map(Some),
            Position::Start(Some(at)) => {
                let at_ns = i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_MILLI);
                let choice = VersionChoice::new(at_ns);
                self.versions(fetcher, prefix, None, choice).await.map(Some)
            }
            Position::Versions(from, choice) => {
                self.versions(fetcher, prefix, Some(from), choice).await.map(Some)
            }
        }
    }

    async fn objects(
        &mut self,
        fetcher: &Fetcher,
        prefix: &str,
        from: Option<String>,
    ) -> Result<ObjectPage, Failure> {
        let page = fetcher.list(prefix, from).await?;
        let next = self.progress.advance(&page)?;
        let is_last = next.is_none();
        self.position = next.map_or(Position::End, Position::Objects);
        Ok(ObjectPage { objects: page.objects, is_last, ..ObjectPage::default() })
    }

    async fn versions(
        &mut self,
        fetcher: &Fetcher,
        prefix: &str,
        from: Option<VersionPosition>,
        mut choice: VersionChoice,
    ) -> Result<ObjectPage, Failure> {
        let listed = fetcher.list_versions(prefix, from).await?;
        // A key may have more versions than a page, so each version counts as an object of its own.
        let named = |key: &str, id: Option<&str>| format!("{key}\0{}", id.unwrap_or_default());
        let first = listed.versions.first().map(|version| {
            let key = named(&version.object.key, version.object.version_id.as_deref());
            ListedObject { key, ..ListedObject::default() }
        });
        let next = listed.next.as_ref().map(|next| named(&next.key, next.version_id.as_deref()));
        self.progress.advance(&Page { objects: first.into_iter().collect(), next })?;
        let mut page = ObjectPage { is_last: listed.next.is_none(), ..ObjectPage::default() };
        for chosen in choice.choose(listed.versions) {
            match chosen {
                Chosen::Object(object) => page.objects.push(object),
                Chosen::Unknown(key) => page.unknown.push(key),
            }
        }
        if let Some(next) = listed.next {
            self.position = Position::Versions(next, choice);
        }
        Ok(page)
    }
}
