//! Where the answers to the requests of one call are noted: status and request ids, which the SDK does not
//! return with every result.

use crate::transfer::ObservedAnswer;
use aws_sdk_s3::client::customize::CustomizableOperation;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::http::Headers;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// The place for one call. It travels with each of its requests to the screen of the answers.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerSlot(Arc<Mutex<ObservedAnswer>>);

impl AnswerSlot {
    /// Notes an answer, in place of an earlier one.
    pub(super) fn set(&self, status: u16, headers: &Headers) {
        let header = |name| headers.get(name).map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ObservedAnswer {
            status: Some(status),
            request_id: header("x-amz-request-id"),
            extended_request_id: header("x-amz-id-2"),
        };
    }

    /// Takes the last answer.
    fn take(&self) -> ObservedAnswer {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for AnswerSlot {
    fn name(&self) -> &'static str {
        "AnswerSlot"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().add_extension(self.clone());
        Ok(())
    }
}

impl super::S3 {
    /// A handle for one call, which notes its own answers.
    pub(in crate::transfer) fn for_call(&self) -> Self {
        Self { answers: AnswerSlot::default(), ..self.clone() }
    }

    /// Takes the last answer to the requests of this handle.
    pub(in crate::transfer) fn take_answer(&self) -> ObservedAnswer {
        self.answers.take()
    }

    /// Has the answer to a request noted.
    pub(super) fn noted<T, E, B>(
        &self,
        request: CustomizableOperation<T, E, B>,
    ) -> CustomizableOperation<T, E, B> {
        request.interceptor(self.answers.clone())
    }
}
