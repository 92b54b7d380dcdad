//! Bytes of a connection that are not decoded yet.

use bytes::{Buf, BytesMut};
use wire::{DecodeError, frame_length};

/// What was received, cut into messages on demand.
#[derive(Debug, Default)]
pub(crate) struct Inbox(BytesMut);

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Octets waiting.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first message, if it is whole; an error if what stands there is none.
    pub(crate) fn message(&self, max: usize) -> Result<Option<&[u8]>, DecodeError> {
        let length = frame_length(&self.0, max)?;
        Ok(length.and_then(|length| self.0.get(..length)))
    }

    /// Is there something to do: a whole message, or an error?
    pub(crate) fn is_ready(&self, max: usize) -> bool {
        !matches!(self.message(max), Ok(None))
    }

    /// Done with the first `length` octets.
    pub(crate) fn advance(&mut self, length: usize) {
        self.0.advance(length.min(self.0.len()));
        if self.0.is_empty() {
            // Gives a burst's memory back.
            self.0 = BytesMut::new();
        }
    }
}
