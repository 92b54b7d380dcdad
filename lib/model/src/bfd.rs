//! How the paths to BGP peers are watched (RFC 5880).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A named set of BFD settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BfdProfile {
    /// Packets are sent this often, if the peer takes them so often; whole milliseconds, 10 to 60000, default 300.
    #[serde(with = "milliseconds")]
    pub min_tx: Duration,
    /// Packets are taken this often; whole milliseconds, 10 to 60000, default 300.
    #[serde(with = "milliseconds")]
    pub min_rx: Duration,
    /// So many packets may be missing before the peer declares the path down, 1 to 255; default 3.
    pub multiplier: u8,
    /// Say nothing before the peer does; default false.
    pub passive: bool,
    /// Over more than one hop (RFC 5883) or not (RFC 5881); what the session is if absent.
    pub multihop: Option<bool>,
}

impl BfdProfile {
    /// Name of the profile that is there without being configured.
    pub const DEFAULT: &str = "default";
}

impl Default for BfdProfile {
    fn default() -> BfdProfile {
        let interval = Duration::from_millis(300);
        BfdProfile { min_tx: interval, min_rx: interval, multiplier: 3, passive: false, multihop: None }
    }
}

mod milliseconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
