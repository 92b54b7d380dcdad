//! Rows: what keeps a peer's mistakes from others. Slots 60 to 69.

use super::{Theme, missing};

pub const THEME: Theme = Theme {
    slots: &[],
    rows: &[
        missing("roles and OTC (RFC 9234)"),
        missing("max-prefix of ours: Cease 6/1"),
        missing("max-prefix of theirs: Cease 6/1"),
    ],
};
