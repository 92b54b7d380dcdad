//! Rows: how sessions end, and what outlives them. They come last, as they end sessions. Slots 80 to 89.

use std::sync::Mutex;

use serde_json::Value;

use super::super::bed::{Bed, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::super::{in_the_end, within};
use super::{Feature, Found, Theme, both_know, row, up};

const NO_HARD_RESET: &str = "BIRD 2.0 does not offer the N bit of RFC 8538";

pub const THEME: Theme = Theme {
    slots: &[
        Slot {
            name: "graceful",
            number: 80,
            node: "e",
            v6: false,
            keys: "",
            parts: [
                Part::Told(&["graceful-restart"], &[]),
                Part::Told(&["graceful restart on;", "graceful restart time 60;"], &[]),
                Part::Told(
                    &[
                        "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\nnotification-enabled = true",
                    ],
                    &["[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true"],
                ),
            ],
        },
        Slot {
            name: "long_lived",
            number: 81,
            node: "i",
            v6: false,
            keys: "import: routers",
            parts: [
                Part::Told(&["graceful-restart"], &[]),
                Part::Told(
                    &[
                        "graceful restart on;",
                        "graceful restart time 3;",
                        "long lived graceful restart on;",
                        "long lived stale time 600;",
                    ],
                    &[],
                ),
                Part::Told(
                    &[
                        "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 3\nlong-lived-enabled = true",
                    ],
                    &[
                        "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true",
                        "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = 600",
                    ],
                ),
            ],
        },
        Slot { name: "words", number: 82, node: "e", v6: false, keys: "gracefulRestart: false", parts: [PLAIN; 3] },
    ],
    rows: &[
        row("shutdown text of ours (RFC 9003)", our_words),
        row("shutdown text of theirs (RFC 9003)", their_words),
        row("GRACEFUL_SHUTDOWN of ours: a drained node (RFC 8326)", drained),
        row("GRACEFUL_SHUTDOWN of theirs (RFC 8326)", leaving),
        row("graceful restart: both keep paths when TCP breaks (RFC 4724)", helper),
        Feature {
            name: "graceful restart over a Cease: N bit (RFC 8538)",
            lacks: [None, Some(NO_HARD_RESET), None],
            check: Some(soft_cease),
        },
        Feature {
            name: "hard reset: both drop paths (RFC 8538)",
            lacks: [None, Some(NO_HARD_RESET), None],
            check: Some(hard_reset),
        },
        row("long-lived graceful restart, both ways (RFC 9494)", long_lived),
    ],
};

/// Is up again, whatever the check did, and each side has what the other announces, fresh.
fn heals(bed: &Bed, router: Router, slot: &Slot) -> Result<(), String> {
    let mut last = String::new();
    let [theirs, ..] = router.prefixes();
    let healed = in_the_end(|| {
        let fresh = both_know(bed, router, slot.name)
            .and_then(|_| bed.heard(slot, router, &theirs))
            .map(|path| path["stale"] == false);
        match fresh {
            Ok(true) => Some(()),
            Ok(false) => {
                last = format!("{theirs} is still stale");
                None
            }
            Err(why) => {
                last = why;
                None
            }
        }
    });
    healed.ok_or(last)
}

fn our_words(bed: &Bed, router: Router) -> Found {
    up(bed, router, "words")?;
    let slot = bed.slot("words");
    let (words, theirs) = ("rack seven is cold", slot.theirs(router));
    bed.stage.good("e", &format!("biplane bgp down {theirs} --text '{words}'"));
    let told = within(|| {
        let text = router.session(bed, slot) + &router.log(bed, slot);
        (text.contains(words) && router.is_up(bed, slot).is_err()).then_some(())
    });
    bed.stage.good("e", &format!("biplane bgp up {theirs}"));
    told.ok_or_else(|| format!("{} has not got the words: {}", router.title(), brief(&router.session(bed, slot))))?;
    heals(bed, router, slot)?;
    Ok(format!("{} was told {words:?}", router.title()))
}

fn their_words(bed: &Bed, router: Router) -> Found {
    up(bed, router, "words")?;
    let slot = bed.slot("words");
    let words = "rack eight is cold";
    router.shut(bed, slot, Some(words));
    let mut last = Value::Null;
    let told = within(|| {
        last = bed.peer(slot, router).ok()?["lastError"].clone();
        last.as_str().filter(|error| error.contains(words)).map(str::to_string)
    });
    router.shut(bed, slot, None);
    let told = told.ok_or_else(|| format!("the last error is {last}"))?;
    heals(bed, router, slot)?;
    Ok(told)
}

/// One drain at a time: it is the node that is drained, not the session.
static DRAIN: Mutex<()> = Mutex::new(());

fn drained(bed: &Bed, router: Router) -> Found {
    let _turn = DRAIN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    up(bed, router, "external")?;
    let slot = bed.slot("external");
    let own = bed.own("e", false)?;
    let leaves = |text: &str| {
        ["graceful-shutdown", "planned-shut", "65535:0", "(65535,0)"].iter().any(|word| text.contains(word))
    };
    if leaves(&router.knows(bed, slot, &own)?) {
        return Err("it has the community before the drain".into());
    }
    bed.stage.good("e", "biplane node drain");
    let told = within(|| router.knows(bed, slot, &own).ok().filter(|text| leaves(text)));
    bed.stage.good("e", "biplane node undrain");
    let told = told.ok_or_else(|| format!("{} has not got the community", router.title()))?;
    let back = within(|| router.knows(bed, slot, &own).ok().filter(|text| !leaves(text)));
    back.ok_or_else(|| format!("{} still has the community", router.title()))?;
    up(bed, router, "external")?;
    Ok(told)
}

/// It carries the community from the start.
fn leaving(bed: &Bed, router: Router) -> Found {
    up(bed, router, "external")?;
    let slot = bed.slot("external");
    let [plain, _, leaving, _] = router.prefixes();
    let (heard, from) = (bed.heard(slot, router, &leaving)?, slot.theirs(router));
    let preference = |prefix: &str| -> Result<Value, String> {
        let used = bed.routes("e", &format!("--why {prefix}"));
        let path = used.iter().find(|path| path["peer"] == from.as_str());
        path.map(|path| path["localPref"].clone()).ok_or_else(|| format!("no path of {prefix} from {from}"))
    };
    let (with, without) = (preference(&leaving)?, preference(&plain)?);
    match with == 0 && without != 0 {
        true => Ok(format!("{leaving} with {} has LOCAL_PREF 0", heard["communities"])),
        false => Err(format!("LOCAL_PREF {with} with the community, {without} without")),
    }
}

/// Both sides have the other's path and call it stale.
fn both_stale(bed: &Bed, router: Router, slot: &Slot) -> Result<String, String> {
    let [theirs, ..] = router.prefixes();
    let path = bed.heard(slot, router, &theirs)?;
    if path["stale"] != true {
        return Err(format!("our path of {theirs} is not stale"));
    }
    router.keeps_stale(bed, slot, &bed.own(slot.node, false)?)
}

/// Waits for something while no session can come back, then lets it come back.
fn meanwhile<T>(
    bed: &Bed,
    router: Router,
    slot: &Slot,
    breaks: impl FnOnce(),
    probe: impl Fn() -> Result<T, String>,
) -> Result<T, String> {
    both_know(bed, router, slot.name)?;
    let barrier = bed.bar(slot, router);
    breaks();
    let mut last = String::new();
    let found = within(|| match probe() {
        Ok(found) => Some(found),
        Err(why) => {
            last = why;
            None
        }
    });
    drop(barrier);
    heals(bed, router, slot).map_err(|why| format!("{last}; it does not come back: {why}"))?;
    found.ok_or(last)
}

fn helper(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("graceful");
    meanwhile(bed, router, slot, || bed.cut(slot, router), || both_stale(bed, router, slot))
}

fn soft_cease(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("graceful");
    let reset = || drop(bed.stage.good("e", &format!("biplane bgp reset {}", slot.theirs(router))));
    let before = ceases(bed, router, slot, "4");
    let found = meanwhile(bed, router, slot, reset, || both_stale(bed, router, slot))?;
    if ceases(bed, router, slot, "4") <= before {
        return Err("no 6/4 was counted as sent".into());
    }
    Ok(found)
}

fn hard_reset(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("graceful");
    let reset = || drop(bed.stage.good("e", &format!("biplane bgp reset --hard {}", slot.theirs(router))));
    let before = ceases(bed, router, slot, "9");
    let [theirs, ..] = router.prefixes();
    let own = bed.own("e", false)?;
    meanwhile(bed, router, slot, reset, || {
        if bed.heard(slot, router, &theirs).is_ok() {
            return Err(format!("we keep {theirs}"));
        }
        if router.is_up(bed, slot).is_ok() || router.knows(bed, slot, &own).is_ok() {
            return Err(format!("{} keeps {own}", router.title()));
        }
        Ok(())
    })?;
    if ceases(bed, router, slot, "9") <= before {
        return Err("no 6/9 was counted as sent".into());
    }
    Ok(format!("{} dropped {own}, we {theirs}", router.title()))
}

fn ceases(bed: &Bed, router: Router, slot: &Slot, subcode: &str) -> f64 {
    let peer = format!("peer=\"{}\"", slot.theirs(router));
    let labels = [peer, "direction=\"out\"".into(), "code=\"6\"".into(), format!("subcode=\"{subcode}\"")];
    bed.metric(slot.node, "biplane_bgp_notifications_total", &labels)
}

/// After the restart time of three seconds both still have the other's path, with LLGR_STALE.
fn long_lived(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("long_lived");
    let [theirs, ..] = router.prefixes();
    let from = slot.theirs(router);
    meanwhile(
        bed,
        router,
        slot,
        || bed.cut(slot, router),
        || {
            let used = bed.routes(slot.node, &format!("--why {theirs}"));
            let path = used.iter().find(|path| path["peer"] == from.as_str()).ok_or("our path is gone")?;
            let said = path["communities"].to_string();
            if path["stale"] != true || !(said.contains("llgr-stale") || said.contains("65535:6")) {
                return Err(format!("our path is {path}"));
            }
            let text = router.knows(bed, slot, &bed.own(slot.node, false)?)?;
            let marked = ["llgr-stale", "65535:6", "(65535,6)"].iter().any(|word| text.contains(word));
            if marked { Ok(text) } else { Err(format!("{} has {}", router.title(), brief(&text))) }
        },
    )
}
