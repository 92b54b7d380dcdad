//! Rows: BFD. Slots 20 to 29.

use super::{Theme, missing};

pub const THEME: Theme = Theme { slots: &[], rows: &[missing("BFD (RFC 5880)")] };
