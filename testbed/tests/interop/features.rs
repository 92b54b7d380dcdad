//! The rows of the matrix, by theme: what each feature needs, and how both sides prove it.

#[path = "features/bounds.rs"]
mod bounds;
#[path = "features/discovery.rs"]
mod discovery;
#[path = "features/endings.rs"]
mod endings;
#[path = "features/liveness.rs"]
mod liveness;
#[path = "features/messages.rs"]
mod messages;
#[path = "features/paths.rs"]
mod paths;
#[path = "features/reflection.rs"]
mod reflection;
#[path = "features/sessions.rs"]
mod sessions;
#[path = "features/transport.rs"]
mod transport;

use super::bed::{Bed, Slot};
use super::routers::Router;

/// What a check found: evidence, or why not.
pub type Found = Result<String, String>;

/// A row.
pub struct Feature {
    pub name: &'static str,
    /// Why FRR, BIRD, GoBGP lack it; `None` where they have it.
    pub lacks: [Option<&'static str>; 3],
    /// `None`: all routers lack it.
    pub check: Option<fn(&Bed, Router) -> Found>,
}

/// Rows that belong together, and the sessions that they need beside those of others.
pub struct Theme {
    pub slots: &'static [Slot],
    pub rows: &'static [Feature],
}

/// In the order of printing and looking.
pub const THEMES: [Theme; 9] = [
    sessions::THEME,
    transport::THEME,
    liveness::THEME,
    discovery::THEME,
    messages::THEME,
    paths::THEME,
    bounds::THEME,
    reflection::THEME,
    endings::THEME,
];

const ALL_HAVE: [Option<&str>; 3] = [None; 3];

const fn row(name: &'static str, check: fn(&Bed, Router) -> Found) -> Feature {
    Feature { name, lacks: ALL_HAVE, check: Some(check) }
}

/// Up on both sides.
fn up(bed: &Bed, router: Router, name: &str) -> Found {
    let slot = bed.slot(name);
    bed.is_up(slot, router)?;
    router.is_up(bed, slot)?;
    Ok(format!("{} and {} are Established", slot.ours(router), slot.theirs(router)))
}

/// Up, and each side has learned the other's prefix by this session.
fn both_know(bed: &Bed, router: Router, name: &str) -> Found {
    up(bed, router, name)?;
    let slot = bed.slot(name);
    let [theirs, ..] = router.prefixes();
    let path = bed.heard(slot, router, &theirs)?;
    let own = bed.own(slot.node, false)?;
    router.knows(bed, slot, &own)?;
    Ok(format!("{theirs} by AS path {}, {own} at {}", path["asPath"], router.title()))
}
