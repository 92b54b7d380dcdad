//! The reducer: all state of the daemon, no I/O, no clock.
//!
//! Taking an event in only updates state and marks what it touches; [`Core::work`] then does what is due, in an order
//! that matters: own claims before ground, ground before sessions, sessions before destinations, destinations before
//! the switch looks at them, and the kernel's batch last, so that it holds everything that came before. Only what a peer
//! has just said goes to the kernel before the switch is looked at: nobody waits for that.

mod bfd;
mod claims;
mod conditions;
mod coordination;
mod destinations;
mod drain;
mod ground;
mod kept_out;
mod meeting;
mod mesh;
mod native;
mod peers;
mod restart;
mod senders;
mod services;
mod stats;
mod unnumbered;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use model::config::Config;
use model::kernel::{Device, Key, LinkInfo, Value};
use model::{Moment, Owner, Plane, PlaneSet, Stance};
use switch::Switch;

use crate::event::{Effect, Event, Identity, KeyGenerations, Level, Notice, Topic};
use crate::reconcile::Reconcile;

use bfd::Bfd;
use claims::Claims;
use conditions::Conditions;
use coordination::Coordination;
use destinations::Destinations;
use ground::GroundState;
use native::Native;
use stats::Stats;

/// A full read-back at least this often, whatever the notices say: Linux drops routes of a downed link without a word.
const READ_BACK_EVERY: Duration = Duration::from_secs(60);
/// A failed read-back is tried again after this.
const READ_BACK_RETRY: Duration = Duration::from_millis(500);
/// Destinations looked at before other events are served: a few milliseconds.
const SLICE: usize = 1024;
/// Objects of a read-back compared before other events are served: a few milliseconds.
const READ_BACK_SLICE: usize = 8192;

/// All state of one node's daemon.
pub struct Core {
    identity: Identity,
    config: Config,
    keys: KeyGenerations,
    /// Source addresses of the default routes.
    found_underlay: Vec<IpAddr>,
    links: Vec<LinkInfo>,
    reconcile: Reconcile,
    claims: Claims,
    coordination: Coordination,
    ground: GroundState,
    native: Native,
    bfd: Bfd,
    drain: Option<drain::Drain>,
    destinations: Destinations,
    senders: senders::Senders,
    switch: Option<Switch>,
    started: Moment,
    /// Has the kernel been read back since the start?
    kernel_read: bool,
    /// Store, kernel and sessions have all been read in: from now on what nobody wants may be swept.
    complete: bool,
    read_back_due: Option<(Moment, String)>,
    last_read_back: Moment,
    /// Foreign objects already told of.
    told_foreign: BTreeMap<Key, String>,
    told_failures: BTreeSet<Key>,
    pods: Pods,
    last_event: Option<(Moment, Notice)>,
    config_error: Option<String>,
    config_loaded: Moment,
    store_since: Moment,
    stats: Stats,
    conditions: Conditions,
    /// The last event was the end.
    ending: bool,
    out: Vec<Effect>,
}

/// What the container runtime was told.
#[derive(Default)]
struct Pods {
    asked: Option<(Vec<model::PodCidr>, u32)>,
    installed: bool,
    error: Option<String>,
}

impl Core {
    /// A daemon that knows nothing yet but its configuration.
    pub fn new(now: Moment, identity: Identity, config: Config, keys: KeyGenerations) -> Core {
        let overlay = Device::new(Owner::VXLAN_DEVICE).unwrap_or_else(|| unreachable!("a constant that fits"));
        let native = Native::new(now, &identity, &config);
        Core {
            identity,
            config,
            keys,
            found_underlay: Vec::new(),
            links: Vec::new(),
            reconcile: Reconcile::new(overlay),
            claims: Claims::default(),
            coordination: Coordination::default(),
            ground: GroundState::default(),
            native,
            bfd: Bfd::default(),
            drain: None,
            destinations: Destinations::default(),
            senders: senders::Senders::default(),
            switch: None,
            started: now,
            kernel_read: false,
            complete: false,
            read_back_due: Some((now, "start".to_owned())),
            last_read_back: now,
            told_foreign: BTreeMap::new(),
            told_failures: BTreeSet::new(),
            pods: Pods::default(),
            last_event: None,
            config_error: None,
            config_loaded: now,
            store_since: now,
            stats: Stats::default(),
            conditions: Conditions::new(now),
            ending: false,
            out: Vec::new(),
        }
    }

    /// Takes one event in and says what is to be done about it, in order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        self.take_in(now, event);
        self.finish(now)
    }

    /// The first half of [`Core::handle`], with the exception that routes which a peer's words make or move are on their
    /// way into the kernel before anything else is looked at. Whoever calls this calls [`Core::finish`] next.
    pub fn begin(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let by_peer = matches!(event, Event::Peering(peering::Event::Bytes { .. }));
        self.take_in(now, event);
        // What is to be taken away waits: the switch may still want it.
        if by_peer
            && self.kernel_read
            && self.read_back_due.is_none()
            && let Some(batch) = self.reconcile.poll_batch(now, false)
        {
            self.out.push(Effect::Kernel(kernel::Command::Write(batch)));
        }
        std::mem::take(&mut self.out)
    }

    fn take_in(&mut self, now: Moment, event: Event) {
        self.ending = matches!(event, Event::Terminate);
        match event {
            Event::Store(event) => self.handle_store(now, event),
            Event::Kernel(event) => self.handle_kernel(now, event),
            Event::Peering(event) => self.handle_peering(now, event),
            Event::Bfd(event) => self.handle_bfd(now, event),
            Event::Config { config, keys } => self.handle_config(now, *config, keys),
            Event::ConfigRefused(why) => {
                self.say(now, Level::Warn, Topic::Config, format!("the running configuration stays: {why}"));
                self.config_error = Some(why);
            }
            Event::Underlay(addresses) => {
                if self.found_underlay != addresses {
                    self.found_underlay = addresses;
                    self.ground.dirty = true;
                }
            }
            Event::PodsInstalled(result) => self.handle_pods_installed(now, result),
            Event::Advertise { prefix, on } => self.handle_advertise(now, prefix, on),
            Event::Operator(number, operation) => self.handle_operation(now, number, operation),
            Event::Timeout => self.native.speaker.handle_timeout(now),
            Event::Terminate => return self.handle_terminate(now),
        }
        self.work(now);
    }

    /// The second half: what follows from the event for the switch, the cluster and people.
    pub fn finish(&mut self, now: Moment) -> Vec<Effect> {
        if !self.ending {
            self.work_after(now);
        }
        std::mem::take(&mut self.out)
    }

    /// The last event took this long, by the clock of whoever told it.
    pub fn note_event(&mut self, took: Duration) {
        self.stats.longest_event = self.stats.longest_event.max(took);
    }

    /// When [`Event::Timeout`] is due at the latest; now or earlier if work was cut into slices and more is left.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let destinations = self.switch.is_some() && self.destinations.has_work();
        if destinations || self.native.speaker.has_work() || self.reconcile.has_work() {
            return Some(Moment::ZERO);
        }
        let read_back = match &self.read_back_due {
            Some(_) if self.reconcile.busy() => None,
            Some((at, _)) => Some(*at),
            None => Some(self.last_read_back + READ_BACK_EVERY),
        };
        [
            read_back,
            self.native.speaker.poll_timeout(),
            self.drain.as_ref().and_then(drain::Drain::poll_timeout),
            self.native.ready_deadline(self.complete, &self.config.bgp),
            self.native.meeting.poll_timeout(),
            self.reconcile.poll_timeout(),
            self.switch.as_ref().and_then(Switch::poll_timeout),
            self.coordination.poll_timeout(),
            self.destinations.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes in a slice of a read-back.
    fn take_in_read_back(&mut self, now: Moment) {
        let Some(news) = self.reconcile.take_in(READ_BACK_SLICE) else { return };
        self.last_read_back = now;
        if !std::mem::replace(&mut self.kernel_read, true) {
            self.note_kept_families();
            self.destinations.all_dirty();
        } else if news > 0 {
            self.say(now, Level::Info, Topic::Route, format!("a read-back found {news} objects changed"));
        }
    }

    /// Does what is due.
    fn work(&mut self, now: Moment) {
        self.take_in_read_back(now);
        self.absorb(now);
        self.begin_switch(now);
        self.renew_meeting(now);
        self.allocate(now);
        self.refresh_ground(now);
        self.step_drain(now);
        self.run_native(now);
        self.refresh_destinations(now);
        self.shut_strangers_out(now);
    }

    /// Does what is due once destinations are looked at.
    fn work_after(&mut self, now: Moment) {
        self.check_complete(now);
        self.step_switch(now);
        self.publish(now);
        self.write_kernel(now);
        self.install_pods(now);
        self.note_conditions(now);
    }

    /// The switch starts once the store and the kernel have been read.
    fn begin_switch(&mut self, now: Moment) {
        if self.switch.is_some() || !self.kernel_read || !self.coordination.listed {
            return;
        }
        if let Some(why) = self.other_store() {
            self.out.push(Effect::Exit(why));
            return;
        }
        let found: PlaneSet = Plane::BOTH
            .into_iter()
            .filter(|plane| {
                let standing = self.reconcile.standing(*plane);
                standing.routes > 0 || (*plane == Plane::Overlay && standing.objects > 0)
            })
            .collect();
        let own = self.coordination.phases.get(&self.identity.node);
        self.coordination.config_beats = own.map_or(0, |phase| phase.config_beats);
        let wish = self.wish();
        let own = self.coordination.phases.get(&self.identity.node);
        let switch = Switch::recover_from(found, wish, self.config.fallback, own, now);
        let words = if found.is_empty() { "nothing".to_owned() } else { found.to_string() };
        self.say(now, Level::Info, Topic::Mode, format!("starting for {wish}; the kernel holds {words} of ours"));
        self.switch = Some(switch);
        self.stance_changed();
    }

    /// Why the store is not the one that this kernel's routes came from, if so: an empty directory where its file system
    /// is not mounted knows no node, and by its word every route would have to go. Nothing is written into it either, so
    /// that the next start finds out just the same.
    ///
    /// A node tells its phase before it may send to anybody: a kernel with routes and a store without the phase do not
    /// belong together, unless the node was renamed; then its routes lead to nodes that the store knows.
    fn other_store(&self) -> Option<String> {
        if self.coordination.phases.contains_key(&self.identity.node) {
            return None;
        }
        let routes = self.reconcile.tracker().actual_iter().filter_map(|(key, value)| match key {
            Key::Route(prefix) => self.reconcile.plane_of_route(value).map(|_| prefix),
            _ => None,
        });
        let mut unknown = 0;
        for prefix in routes {
            if self.claims.all.contains_key(&model::PodCidr(prefix)) {
                return None;
            }
            unknown += 1;
        }
        let model::config::StoreConfig::Files { path, .. } = &self.config.store;
        let mark = Owner::MARK;
        (unknown > 0).then(|| {
            format!(
                "the store {} knows neither node {} nor any node that the {unknown} routes in this kernel lead to: is its \
                 file system mounted? The routes stay and forward; bring the store back and start again. If the store is \
                 new on purpose, remove what the old one left: `ip nexthop flush proto {mark}` (the routes go along)",
                path.display(),
                self.identity.node
            )
        })
    }

    /// What stands and carries now; nothing before the switch has begun.
    fn stance(&self) -> Stance {
        self.switch
            .as_ref()
            .map_or(Stance { stand: PlaneSet::NONE, carry: self.config.mode, fallback: None }, switch::Switch::stance)
    }

    /// Planes that destinations may be moved to now.
    fn licences(&self) -> PlaneSet {
        self.switch.as_ref().map_or(PlaneSet::NONE, Switch::licences)
    }

    fn stance_changed(&mut self) {
        self.ground.dirty = true;
        self.native.dirty = true;
        self.destinations.all_dirty();
        self.destinations.all_nodes_dirty();
    }

    /// Sweeping and moving wait for this; once true it stays: a store or a peer that goes later takes nothing with it.
    fn check_complete(&mut self, now: Moment) {
        if self.complete || !self.kernel_read || !self.coordination.listed || self.switch.is_none() {
            return;
        }
        if self.stance().stand.has(Plane::Native) && !self.native_read_in(now) {
            return;
        }
        self.complete = true;
        self.destinations.all_dirty();
        self.say(now, Level::Info, Topic::Route, "store, kernel and sessions are read in".to_owned());
    }

    fn handle_kernel(&mut self, now: Moment, event: kernel::Event) {
        match event {
            kernel::Event::ReadBack { ours, foreign, links } => {
                self.set_links(now, links);
                self.reconcile.read_back(ours, foreign);
            }
            kernel::Event::ReadBackFailed(why) => {
                self.reconcile.read_back_failed();
                self.stats.count_netlink_error("dump", 0);
                self.say(now, Level::Warn, Topic::Route, format!("cannot read the kernel back: {why}; trying again"));
                self.read_back_due = Some((now + READ_BACK_RETRY, why));
            }
            kernel::Event::Wrote(results) => {
                let mut refused = Vec::new();
                for (write, result) in &results {
                    if let Err(refusal) = result {
                        self.stats.count_netlink_error(write.key().kind(), refusal.errno);
                        refused.push(write.key().clone());
                    }
                }
                self.reconcile.handle_wrote(now, results);
                self.note_kept_out(refused);
            }
            kernel::Event::Changed(key, value) => self.handle_changed(now, key, value),
            kernel::Event::Foreign(foreign) => self.reconcile.note_foreign(foreign.key, Some(foreign.what)),
            kernel::Event::Links(links) => self.set_links(now, links),
            kernel::Event::ReadBackNeeded(why) => self.ask_read_back(now, why),
            kernel::Event::Resolved(hops) => self.destinations.handle_resolved(now, hops),
        }
    }

    /// Somebody changed an object of ours; our own writes come back here too and are no news.
    fn handle_changed(&mut self, now: Moment, key: Key, value: Option<Value>) {
        let wanted = self.reconcile.tracker().desired(&key).is_some();
        let was_settled = self.reconcile.settled(&key);
        if !self.reconcile.found(key.clone(), value.clone()) {
            return;
        }
        if wanted && was_settled && !self.reconcile.settled(&key) {
            let (cause, word) = if value.is_none() { ("missing", "removed") } else { ("altered", "altered") };
            self.stats.count_drift(now, key.to_string(), cause);
            self.say(now, Level::Warn, Topic::Route, format!("{key} was {word} by somebody else; repairing it"));
        }
    }

    fn set_links(&mut self, now: Moment, links: Vec<LinkInfo>) {
        if self.links == links {
            return;
        }
        let own = self.claims.own();
        for link in &links {
            let before = self.links.iter().find(|old| old.device == link.device);
            if before.is_some_and(|old| old.up != link.up) && !link.device.as_str().starts_with(Owner::DEVICE_PREFIX) {
                let word = if link.up { "up" } else { "down" };
                self.say(now, Level::Debug, Topic::Link, format!("{} is {word}", link.device));
            }
        }
        let behind: Vec<Device> = self.unnumbered_peers().map(|(device, _)| device.clone()).collect();
        let same = relevant(&self.links, &own, &behind).eq(relevant(&links, &own, &behind));
        self.links = links;
        self.destinations.forget_ways();
        if same {
            // A pod came or went: nothing of ours rests on its link.
            return;
        }
        self.reconcile.retry_all(now);
        self.ground.dirty = true;
        self.native.links_changed = true;
        self.destinations.all_dirty();
    }

    fn ask_read_back(&mut self, now: Moment, why: String) {
        if self.read_back_due.is_none() {
            self.read_back_due = Some((now, why));
        }
    }

    /// The next batch, or a read-back that is due.
    fn write_kernel(&mut self, now: Moment) {
        self.absorb(now);
        if self.reconcile.take_doubt() {
            self.ask_read_back(now, "a refused write".to_owned());
        }
        if self.kernel_read && now.since(self.last_read_back) >= READ_BACK_EVERY {
            self.ask_read_back(now, "timer".to_owned());
        }
        if self.read_back_due.as_ref().is_some_and(|(at, _)| *at <= now) {
            if self.reconcile.busy() {
                return;
            }
            if let Some((_, why)) = self.read_back_due.take() {
                self.stats.count_read_back(&why);
            }
            self.last_read_back = now;
            self.reconcile.expect_read_back();
            let pools = self.config.pools.iter().map(|pool| pool.cidr).collect();
            let sysctls = self.ground.sysctls();
            self.out.push(Effect::Kernel(kernel::Command::ReadBack(kernel::Interest { pools, sysctls })));
            return;
        }
        if !self.kernel_read {
            return;
        }
        if let Some(batch) = self.reconcile.poll_batch(now, self.complete) {
            self.out.push(Effect::Kernel(kernel::Command::Write(batch)));
        }
        self.tell_troubles(now);
    }

    /// Foreign objects and refused writes are told once each, and told again when they are over.
    fn tell_troubles(&mut self, now: Moment) {
        let own: Vec<model::Prefix> = self.ground.spec.own.iter().map(|cidr| cidr.0).collect();
        let inside = |key: &Key| matches!(key, Key::Route(p) if own.iter().any(|o| o.covers(p)));
        let mut lines = Vec::new();
        let foreign: BTreeMap<Key, String> =
            self.reconcile.foreign().iter().filter(|(k, _)| !inside(k)).map(|(k, w)| (k.clone(), w.clone())).collect();
        for (key, what) in &foreign {
            if self.told_foreign.get(key) != Some(what) {
                lines.push((Level::Warn, format!("{key} is not ours and is left alone: {what}")));
            }
        }
        // Somebody's overlay that turns out to have what ours needs is told of under our link from then on.
        let in_our_way = |key: &Key| matches!(key, Key::Link(_)) && self.reconcile.is_link_refused();
        for key in self.told_foreign.keys().filter(|key| !foreign.contains_key(*key) && !in_our_way(key)) {
            lines.push((Level::Info, format!("{key}: the foreign object is gone")));
        }
        self.told_foreign = foreign;
        let failing: BTreeSet<Key> = self.reconcile.failures().keys().cloned().collect();
        for key in failing.difference(&self.told_failures).take(10) {
            if let Some(failure) = self.reconcile.failures().get(key) {
                lines.push((Level::Warn, format!("the kernel refused {key}: {}; it stays wanted", failure.refusal)));
            }
        }
        self.told_failures = failing;
        for (level, text) in lines {
            self.say(now, level, Topic::Route, text);
        }
    }

    fn handle_config(&mut self, now: Moment, config: Config, keys: KeyGenerations) {
        self.config_error = None;
        self.config_loaded = now;
        if config == self.config && keys == self.keys {
            return;
        }
        if config.mode != self.config.mode {
            // Whoever spoke last is heard: a file changed now beats a wish spoken before.
            self.coordination.config_beats = self.coordination.last_generation();
        }
        let fixed = config.store != self.config.store || config.node.name != self.config.node.name;
        self.say(now, Level::Info, Topic::Config, format!("configuration taken over, mode {}", config.mode));
        if fixed {
            let text = "store and node.name take effect at the next start of the daemon".to_owned();
            self.say(now, Level::Warn, Topic::Config, text);
        }
        self.native.set_policies(&config);
        self.config = config;
        self.keys = keys;
        self.claims.dirty = true;
        self.ground.dirty = true;
        self.native.dirty = true;
        self.native.meeting.dirty = true;
        self.destinations.all_dirty();
    }

    /// Pods may start once the node has addresses for them and really forwards.
    fn install_pods(&mut self, _now: Moment) {
        if self.config.cni.conf_dir.is_none() || self.unready().is_some() {
            return;
        }
        let Some(mtu) = self.pod_mtu() else { return };
        let wanted = (self.ground.spec.own.clone(), mtu);
        if self.pods.asked.as_ref() == Some(&wanted) {
            return;
        }
        self.pods.asked = Some(wanted.clone());
        let (pod_cidrs, mtu) = wanted;
        self.out.push(Effect::InstallPods { pod_cidrs, mtu });
    }

    fn handle_pods_installed(&mut self, now: Moment, result: Result<bool, String>) {
        match result {
            Ok(changed) => {
                if changed {
                    self.say(now, Level::Info, Topic::Ipam, "conflist written: pods may start".to_owned());
                }
                self.pods.installed = true;
                self.pods.error = None;
            }
            Err(why) => {
                self.say(now, Level::Warn, Topic::Ipam, format!("cannot write the conflist: {why}"));
                self.pods.error = Some(why);
                self.pods.installed = false;
            }
        }
    }

    /// Why the node does not forward for pods yet; `None` when it does.
    fn unready(&self) -> Option<String> {
        let Some(switch) = &self.switch else {
            return Some(match (&self.coordination.down, self.kernel_read) {
                (Some((why, _)), _) => format!("the store: {why}"),
                (None, true) => "the store's first list".to_owned(),
                (None, false) => "the first read-back of the kernel".to_owned(),
            });
        };
        let carry = switch.stance().carry;
        if let Some(why) = self.claims.missing(&self.config) {
            return Some(why);
        }
        if let switch::Readiness::Waiting(why) = self.readiness(carry) {
            return Some(why);
        }
        if !switch.licences().has(carry) && self.destinations.counts().carried[carry as usize] == 0 {
            return Some(format!("no digest from the coordinator lists this node as a sender over {carry} yet"));
        }
        None
    }

    /// One line for the log and the monitor.
    fn say(&mut self, now: Moment, level: Level, topic: Topic, text: String) {
        let notice = Notice { level, topic, text };
        if level != Level::Debug {
            self.last_event = Some((now, notice.clone()));
        }
        self.out.push(Effect::Say(notice));
    }
}

/// Links that sessions, next hops and the overlay can rest on: not ours, and with an address that is no pod's, or with a
/// peer `behind` them.
fn relevant<'a>(
    links: &'a [LinkInfo],
    own: &'a [model::PodCidr],
    behind: &'a [Device],
) -> impl Iterator<Item = &'a LinkInfo> {
    let pods = |address: &IpAddr| own.iter().any(|cidr| cidr.0.holds(address));
    links.iter().filter(|link| !ground::is_ours(link)).filter(move |link| {
        let global = || link.addresses.iter().any(|(address, _)| ground::is_global(address) && !pods(address));
        behind.contains(&link.device) || global()
    })
}
