//! What can be wrong with a message, and with what consequence.

use std::fmt;

use model::Family;
use serde::{Deserialize, Serialize};

use crate::Notification;

/// What RFC 7606 does about an error in an UPDATE, from weak to strong: of several errors the greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Treatment {
    /// The attribute (or the prefix) is dropped; the rest counts.
    Discard,
    /// The announced prefixes are treated as withdrawn.
    Withdraw,
    /// The family is given up for the rest of the session.
    ResetFamily,
    /// The session is reset with a NOTIFICATION. Only ever in a [`DecodeError`].
    ResetSession,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Treatment::Discard => "attribute discarded",
            Treatment::Withdraw => "treated as withdrawn",
            Treatment::ResetFamily => "family reset",
            Treatment::ResetSession => "session reset",
        })
    }
}

/// One error in an UPDATE that left the session standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// Type code of the attribute; `None` when the error is of the NLRI or of the list as a whole.
    pub attribute: Option<u8>,
    /// What it asks for on its own; the UPDATE gets the strongest.
    pub treatment: Treatment,
    /// Words for the log.
    pub what: String,
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute {
            Some(code) => write!(f, "{} (attribute {code}): {}", self.what, self.treatment),
            None => write!(f, "{}: {}", self.what, self.treatment),
        }
    }
}

/// The message ends the session: send the NOTIFICATION, then close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DecodeError {
    /// What to tell the peer.
    pub notification: Notification,
    /// Words for the log.
    pub what: String,
}

/// Why a message could not be composed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not even one prefix fits beside the attributes, or the message is longer than the session allows.
    #[error("message of {size} octets does not fit: the session allows {max}")]
    TooLong {
        /// Octets needed, at least.
        size: usize,
        /// [`Negotiated::max_message`](crate::Negotiated::max_message), or 4096 for OPEN.
        max: usize,
    },
    /// A value has no form on the wire.
    #[error("{field} cannot be encoded: {value}")]
    Value {
        /// Which one.
        field: &'static str,
        /// What it was.
        value: String,
    },
    /// Prefixes of both families in one call.
    #[error("prefixes of both families in one UPDATE")]
    MixedFamilies,
    /// The family was not negotiated with this peer.
    #[error("{0} was not negotiated with this peer")]
    NotNegotiated(Family),
    /// An IPv6 prefix needs an IPv6 next hop.
    #[error("an IPv6 prefix needs an IPv6 next hop")]
    NextHop,
    /// An IPv4 prefix may have an IPv6 next hop only where RFC 8950 was negotiated.
    #[error("IPv4 prefixes with an IPv6 next hop were not negotiated with this peer (capability 5 on both sides)")]
    ExtendedNextHop,
    /// The prefixes of this [`Update`](crate::Update) do not share what one UPDATE can hold only once.
    #[error("{0} do not fit one UPDATE")]
    OneUpdate(&'static str),
}
