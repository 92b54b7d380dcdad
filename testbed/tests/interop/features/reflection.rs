//! Rows: route reflectors. Slots 70 to 79.

use super::{Theme, missing};

pub const THEME: Theme =
    Theme { slots: &[], rows: &[missing("client of a reflector (RFC 4456)"), missing("reflector (RFC 4456)")] };
