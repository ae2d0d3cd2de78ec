//! The age of an object by the clock of its store: the date of the answer less the date of the object. No
//! clock is compared with another one.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The date of the latest answer.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerDate(Arc<Mutex<Option<DateTime>>>);

impl AnswerDate {
    /// The time from `earlier` to the answer; `None` if the answer has no date.
    pub(super) fn since(&self, earlier: &DateTime) -> Option<Duration> {
        let date = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let seconds = date.secs().saturating_sub(earlier.secs());
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
