//! One caller's request, immutable from the moment it is admitted to the stack.

mod end_user;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use bytes::Bytes;
use http::request::Parts;

use crate::{
    clock::Instant,
    codec::{Ingress, WireError},
    id::RequestId,
    ir::ChatRequest,
    key::{Mode, Principal},
    peek::{Operation, Peek},
    protocol::Protocol,
};

/// What accompanies a call from the door to the provider.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The call's id, and that of the money held for it.
    pub request_id: RequestId,
    /// Who is calling.
    pub principal: Arc<Principal>,
    /// Calendar time of arrival; prices and budget periods are judged at it.
    pub received_at: SystemTime,
    /// When the last byte of the request had been read.
    pub read_at: Instant,
    /// When the whole call must be over.
    pub deadline: Instant,
}

/// A request, described once and shared by every layer and attempt.
pub struct Call {
    ctx: CallContext,
    ingress: Arc<dyn Ingress>,
    head: Parts,
    body: Bytes,
    peek: Peek,
    canonical: OnceLock<Result<ChatRequest, WireError>>,
}

impl Call {
    /// A call exists only for a [`Principal`], which is inside the context.
    #[must_use]
    pub fn new(ctx: CallContext, ingress: Arc<dyn Ingress>, head: Parts, body: Bytes, peek: Peek) -> Self {
        Self { ctx, ingress, head, body, peek, canonical: OnceLock::new() }
    }

    /// Who, when, until when.
    #[must_use]
    pub fn ctx(&self) -> &CallContext {
        &self.ctx
    }

    /// Live or test.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.ctx.principal.mode
    }

    /// The codec of the caller's protocol.
    #[must_use]
    pub fn ingress(&self) -> &Arc<dyn Ingress> {
        &self.ingress
    }

    /// The caller's protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.ingress.protocol()
    }

    /// Method, path and headers as they came. Credentials are among them: forward by allow-list only.
    #[must_use]
    pub fn head(&self) -> &Parts {
        &self.head
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What the one scan of the body found.
    #[must_use]
    pub fn peek(&self) -> &Peek {
        &self.peek
    }

    /// What is asked.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.peek.operation
    }

    /// The person behind the request, as the caller names them: the header `x-bellwether-user`, else the body's `user`,
    /// `safety_identifier` or `metadata.user_id`, whichever the protocol has. At most 200 characters of it; `None` when
    /// nobody is named, or not in plain text.
    #[must_use]
    pub fn end_user(&self) -> Option<Box<str>> {
        end_user::of(&self.head.headers, &self.body, &self.peek)
    }

    /// The request in canonical form, decoded at most once and only if someone asks.
    ///
    /// # Errors
    /// The body is not a valid request of its protocol; the error names the field.
    pub fn canonical(&self) -> Result<&ChatRequest, WireError> {
        self.canonical.get_or_init(|| self.ingress.decode(&self.head, &self.body)).as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for Call {
    /// Shows what identifies the call, never its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request_id", &self.ctx.request_id)
            .field("protocol", &self.protocol())
            .field("operation", &self.peek.operation)
            .field("model", &self.peek.model)
            .field("stream", &self.peek.stream)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
