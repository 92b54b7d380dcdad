//! Rows: peers that are found, and next hops of the other family. Slots 30 to 39.

use super::{Theme, missing};

pub const THEME: Theme = Theme {
    slots: &[],
    rows: &[missing("IPv4 over IPv6 next hops (RFC 8950)"), missing("unnumbered"), missing("dynamic neighbours")],
};
