//! Which plane carries one destination.

use model::{Plane, PlaneSet, Stance};

/// What is known of the way to one destination, plane by plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// `Ok` when the destination is known to receive on the overlay and all that the way there rests on is in the
    /// kernel here; else what is missing.
    pub overlay: Result<(), String>,
    /// `Ok` when the destination is known to receive natively and a path to it resolves here; else what is missing.
    pub native: Result<(), String>,
    /// Planes that positively lead nowhere: a digest shows that the destination does not stand there, or its last
    /// native path is gone. Packets sent there are lost, so nothing stays there for want of something better.
    ///
    /// A plane that is `Err` and not in here is merely unknown: no digest yet, sessions not read in, an entry on its
    /// way into the kernel. What the kernel already carries there stays.
    pub gone: PlaneSet,
}

impl Usable {
    /// The verdict on `plane`.
    pub fn on(&self, plane: Plane) -> &Result<(), String> {
        match plane {
            Plane::Overlay => &self.overlay,
            Plane::Native => &self.native,
        }
    }
}

/// Where one destination belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// The plane that carries it; `None` when no plane can.
    pub plane: Option<Plane>,
    /// Why it is not the preferred one; `None` when it is.
    pub why_not: Option<String>,
}

/// The plane that a destination is to be carried by, given the one (`now`) that the kernel carries it by.
///
/// The preferred plane, else the fallback, each only where it stands here, is usable, and may be sent on: licensed, or
/// in use already (a restarted daemon has no licence yet, but its record in the store still says that it sends
/// there). When neither will do, the destination stays where it is, as long as that plane stands here and does not
/// positively lead nowhere: a doubt is no reason to drop packets that may well arrive.
pub fn carry(stance: Stance, licences: PlaneSet, usable: &Usable, now: Option<Plane>) -> Carry {
    let refused = |plane: Plane| -> Option<String> {
        if !stance.stand.has(plane) {
            return Some(format!("{plane} does not stand on this node"));
        }
        if let Err(why) = usable.on(plane) {
            return Some(why.clone());
        }
        (!licences.has(plane) && now != Some(plane)).then(|| unlicensed(plane))
    };
    let Some(why_not) = refused(stance.carry) else { return Carry { plane: Some(stance.carry), why_not: None } };
    let fallback = stance.fallback.filter(|plane| refused(*plane).is_none());
    let stays = || now.filter(|plane| stance.stand.has(*plane) && !usable.gone.has(*plane));
    let plane = fallback.or_else(stays);
    // Staying on the preferred plane for want of proof is still the preferred plane, but in doubt: say so.
    Carry { plane, why_not: Some(why_not) }
}

/// Words for a plane without a licence.
pub(crate) fn unlicensed(plane: Plane) -> String {
    format!("no digest from the coordinator lists this node as a sender over {plane} yet")
}

#[cfg(test)]
mod tests {
    use model::Plane::{Native, Overlay};

    use super::*;

    const V: PlaneSet = PlaneSet::only(Overlay);
    const B: PlaneSet = PlaneSet::only(Native);
    const BOTH: PlaneSet = PlaneSet::BOTH;
    const NONE: PlaneSet = PlaneSet::NONE;

    #[test]
    fn a_destination_goes_where_it_may_and_stays_where_it_must() {
        let prefers_bgp = Stance { stand: BOTH, carry: Native, fallback: Some(Overlay) };
        let only_bgp = Stance { stand: B, carry: Native, fallback: None };
        let no_fallback = Stance { stand: BOTH, carry: Native, fallback: None };
        let (o, n) = ("no FDB entry", "no path");
        let licence = unlicensed(Native);
        let absent = "bgp does not stand on this node";
        let none = Stance { stand: NONE, carry: Native, fallback: None };
        // stance, licences, usable on vxlan / bgp, leads nowhere, in the kernel now → carried by, why not bgp.
        let rows = [
            (prefers_bgp, BOTH, true, true, NONE, None, Some(Native), None),
            (prefers_bgp, BOTH, true, true, NONE, Some(Overlay), Some(Native), None),
            // No licence: not moved there, but kept there.
            (prefers_bgp, V, true, true, NONE, Some(Overlay), Some(Overlay), Some(licence.as_str())),
            (prefers_bgp, NONE, true, true, NONE, None, None, Some(&licence)),
            (prefers_bgp, NONE, true, true, NONE, Some(Native), Some(Native), None),
            (prefers_bgp, NONE, true, true, NONE, Some(Overlay), Some(Overlay), Some(&licence)),
            // Not usable: the fallback, licensed or in use.
            (prefers_bgp, BOTH, true, false, NONE, Some(Native), Some(Overlay), Some(n)),
            (prefers_bgp, B, true, false, NONE, Some(Overlay), Some(Overlay), Some(n)),
            (prefers_bgp, B, true, false, NONE, Some(Native), Some(Native), Some(n)),
            (prefers_bgp, B, true, false, B, Some(Native), None, Some(n)),
            (no_fallback, BOTH, true, false, NONE, None, None, Some(n)),
            // Neither is usable: in doubt it stays, in certainty it goes.
            (prefers_bgp, BOTH, false, false, NONE, Some(Native), Some(Native), Some(n)),
            (prefers_bgp, BOTH, false, false, NONE, Some(Overlay), Some(Overlay), Some(n)),
            (prefers_bgp, BOTH, false, false, V, Some(Overlay), None, Some(n)),
            (prefers_bgp, BOTH, false, false, V, Some(Native), Some(Native), Some(n)),
            (prefers_bgp, BOTH, false, false, NONE, None, None, Some(n)),
            // One plane stands.
            (only_bgp, B, true, true, NONE, Some(Overlay), Some(Native), None),
            (only_bgp, B, true, false, NONE, Some(Overlay), None, Some(n)),
            (only_bgp, B, true, false, NONE, Some(Native), Some(Native), Some(n)),
            (none, BOTH, true, true, NONE, Some(Native), None, Some(absent)),
        ];
        for (stance, licences, overlay, native, gone, now, plane, why_not) in rows {
            let verdict = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
            let usable = Usable { overlay: verdict(overlay, o), native: verdict(native, n), gone };
            let want = Carry { plane, why_not: why_not.map(str::to_owned) };
            assert_eq!(carry(stance, licences, &usable, now), want, "{stance:?} {licences} {usable:?} {now:?}");
        }
    }
}
