//! Rows: how sessions end, and what outlives them. They come last, as they end sessions. Slots 80 to 89.

use super::{Theme, missing};

pub const THEME: Theme = Theme {
    slots: &[],
    rows: &[
        missing("shutdown text (RFC 9003)"),
        missing("GRACEFUL_SHUTDOWN (RFC 8326)"),
        missing("graceful restart helper (RFC 4724)"),
        missing("long-lived graceful restart (RFC 9494)"),
    ],
};
