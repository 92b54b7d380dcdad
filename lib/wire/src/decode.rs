//! From octets to messages.

use bytes::Bytes;

mod as_path;
mod attribute_list;
mod list;
mod reachability;
mod update;

pub use update::Decoder;

use crate::family_codes::family_of;
use crate::frame::{bad_length, kind};
use crate::{DecodeError, Message, Negotiated, Notification, RouteRefresh, Update, code, frame_length, open_message};

/// Decodes one whole message, as long as [`frame_length`] said.
///
/// # Errors
/// Every error ends the session with the NOTIFICATION in it; what RFC 7606 handles more gently is in
/// [`Update::errors`](crate::Update::errors) instead. A NOTIFICATION that does not parse cannot be answered with one:
/// close.
pub fn decode(message: &[u8], negotiated: &Negotiated) -> Result<Message, DecodeError> {
    Decoder::forgetful().decode(message, negotiated)
}

/// All messages; what an UPDATE has in its body is given to `update`.
fn decode_with(
    message: &[u8],
    negotiated: &Negotiated,
    update: impl FnOnce(&[u8]) -> Result<Update, DecodeError>,
) -> Result<Message, DecodeError> {
    let whole = frame_length(message, negotiated.max_message)? == Some(message.len());
    let ([.., message_kind], body) = match message.split_first_chunk::<{ crate::HEADER }>() {
        Some(parts) if whole => parts,
        _ => {
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
            return Err(bad_length(length, format!("{length} octets are not one whole message")));
        }
    };
    match (*message_kind, body) {
        (kind::OPEN, body) => open_message::decode(body).map(Message::Open),
        (kind::UPDATE, body) => update(body).map(Message::Update),
        (kind::NOTIFICATION, [code, subcode, data @ ..]) => {
            Ok(Message::Notification(Notification::new(*code, *subcode, Bytes::copy_from_slice(data))))
        }
        (kind::KEEPALIVE, []) => Ok(Message::Keepalive),
        (kind::ROUTE_REFRESH, body) => decode_route_refresh(message, body).map(Message::RouteRefresh),
        // Framing has refused all others.
        _ => Err(bad_length(u16::try_from(message.len()).unwrap_or(u16::MAX), "body that no type has".to_owned())),
    }
}

/// Four octets of body, no more: the filters of RFC 5291 are never offered. Else 7/1 with the message as data
/// (RFC 7313 section 5).
fn decode_route_refresh(message: &[u8], body: &[u8]) -> Result<RouteRefresh, DecodeError> {
    let [afi_high, afi_low, subtype, safi] = *body else {
        // The data has to fit our NOTIFICATION.
        let data = Bytes::copy_from_slice(&message[..message.len().min(crate::MAX_MESSAGE - 21)]);
        return Err(DecodeError {
            notification: Notification::new(code::ROUTE_REFRESH, 1, data),
            what: format!("ROUTE-REFRESH of {} octets, expected 23", message.len()),
        });
    };
    Ok(RouteRefresh { family: family_of(u16::from_be_bytes([afi_high, afi_low]), safi), subtype })
}
