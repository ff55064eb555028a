//! Stories of addresses that are translated: which uplinks do, what to, and in which order the
//! kernel side is told.

use multihome_common::{
    flow::{
        FlowKey,
        slot::{FlowSlot, Outside},
    },
    state::{GROUP_HOLD, GroupWords, Policy},
    uplink::{MODE_NAT44, MODE_NPTV6, MODE_ROUTED, UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER},
    wire::protocol,
};

use super::{
    story::{FAILBACK_AFTER, settings},
    *,
};
use crate::{
    config::{Failback, Filtering, HashPolicy, Mode, OnUplinkLoss, Unasked},
    netlink::Address,
};

fn lan_address(octets: [u8; 4]) -> NetEvent {
    NetEvent::AddressAdded(1, on([octets[0], octets[1], octets[2], octets[3]], 24))
}

fn on(octets: [u8; 4], prefix_len: u8) -> Address {
    Address {
        address: IpAddr::from(octets),
        prefix_len,
        usable: true,
        deprecated: false,
        broadcast: None,
        peer: None,
    }
}

/// The machine of the stories, with a private LAN.
fn private() -> NetState {
    let mut net = kernel();
    net.apply(&lan_address([10, 1, 0, 1]));
    net
}

fn auto(name: &str, device: &str) -> UplinkConfig {
    UplinkConfig {
        capacity: None,
        quota: None,
        mode: Mode::Auto,
        ..uplink_config(name, device, 1)
    }
}

fn both_auto() -> Settings {
    settings(vec![auto("fiber", "fiber0"), auto("lte", "lte0")])
}

/// The last entry of an uplink among these actions.
fn entry(actions: &[Action], id: u8) -> Option<UplinkEntry> {
    let mut entries = actions.iter().filter_map(|action| {
        let Action::SetUplink(of, entry) = action else {
            return None;
        };
        (*of == id).then_some(*entry)
    });
    entries.next_back()
}

fn begin(net: NetState, settings: Settings) -> (Controller, Vec<Action>) {
    let now = Instant::now();
    let mut controller = Controller::new(settings, net, now);
    let actions = controller.begin(now);
    (controller, actions)
}

fn outside(entry: &UplinkEntry) -> Vec<Ipv4Addr> {
    let count = usize::from(entry.outside_count);
    entry.outside[..count]
        .iter()
        .copied()
        .map(Ipv4Addr::from)
        .collect()
}

#[test]
fn a_private_lan_is_translated_to_each_devices_own_address() {
    let (_, actions) = begin(private(), both_auto());
    for (id, pool) in [(FIBER, 0), (LTE, 2)] {
        let entry = entry(&actions, id).expect("it is written");
        assert_eq!(entry.mode, [MODE_NAT44, MODE_ROUTED]);
        assert_eq!(outside(&entry), [Ipv4Addr::new(192, 0, 2, id * 4 + 2)]);
        assert_eq!((entry.pool, entry.flags), (pool, 0));
        let owner = u64::from(id) << 16 | u64::from(pool);
        let address = Ipv4Addr::new(192, 0, 2, id * 4 + 2);
        assert!(actions.contains(&Action::SetOutside(address, Some(owner))));
    }
    let told = actions.iter().filter_map(|action| {
        let Action::Treats(id, IPV4, treatment) = action else {
            return None;
        };
        Some((*id, treatment.to_string()))
    });
    let words = |n: u8| (n, format!("translated to 192.0.2.{} (nat44)", n * 4 + 2));
    assert_eq!(told.collect::<Vec<_>>(), [words(0), words(1)]);
}

#[test]
fn a_lan_with_a_public_address_is_routed_and_so_is_an_uplink_that_says_so() {
    let mut public = private();
    public.apply(&lan_address([203, 0, 113, 1]));
    let (_, actions) = begin(public, both_auto());
    assert_eq!(
        entry(&actions, FIBER).map(|entry| entry.mode),
        Some([MODE_ROUTED; 2])
    );
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::SetTracked(_)))
    );
    let story = Story::begin_on(private(), 1, None);
    assert_eq!(story.tracked, 0, "both say routed");
}

/// A program that looks up no flows would send the LAN's addresses out as they are.
#[test]
fn flows_are_looked_up_before_an_entry_says_that_its_uplink_translates() {
    let (mut controller, _) = begin(kernel(), both_auto());
    let now = Instant::now();
    controller.handle(Event::Net(lan_address([192, 168, 1, 1])), now);
    let actions = controller.handle(Event::CaughtUp, now);
    let place = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).expect("it is told");
    let tracked = place(|action| *action == Action::SetTracked(1));
    let conduct = place(|action| matches!(action, Action::SetConduct(0, _)));
    let entry = place(|action| matches!(action, Action::SetUplink(..)));
    assert!(tracked < entry && conduct < entry, "{actions:?}");
}

#[test]
fn flows_are_looked_up_until_none_is_left_that_was_translated() {
    let mut story = Story::begin_with(private(), both_auto());
    assert_eq!(story.tracked, 1);
    story.tell(Event::Swept(0));
    assert_eq!(story.tracked, 1, "new ones may come");
    story.net(lan_address([203, 0, 113, 1]));
    story.tell(Event::Swept(5));
    assert_eq!(story.tracked, 1);
    story.tell(Event::Swept(0));
    assert_eq!(story.tracked, 0);
}

/// `networkctl reload` takes a LAN's address away and sets it again.
#[test]
fn a_lan_whose_address_is_set_anew_stays_private() {
    let mut story = Story::begin_with(private(), both_auto());
    let gone = story.net(NetEvent::AddressGone(1, on([10, 1, 0, 1], 24)));
    assert_eq!(entry(&gone, FIBER), None);
    let back = story.net(lan_address([10, 1, 0, 1]));
    assert_eq!(entry(&back, FIBER), None);
}

#[test]
fn a_new_address_of_the_device_takes_the_old_ones_place() {
    let mut story = Story::begin_with(private(), both_auto());
    // A renewed lease: the old address goes before the new one comes.
    let gone = story.net(NetEvent::AddressGone(10, address(FIBER)));
    assert_eq!(entry(&gone, FIBER), None, "its flows wait for the old one");
    let actions = story.net(NetEvent::AddressAdded(10, on([198, 51, 100, 9], 24)));
    let new = entry(&actions, FIBER).expect("it is written");
    assert_eq!(outside(&new), [Ipv4Addr::new(198, 51, 100, 9)]);
    assert_eq!(new.pool, 0);
    assert!(actions.contains(&Action::SetOutside(Ipv4Addr::new(192, 0, 2, 2), None)));
    assert!(actions.contains(&Action::SetOutside(Ipv4Addr::new(198, 51, 100, 9), Some(0))));
    // One more in the next hop's subnet does not move flows from the one that they have.
    story.net(NetEvent::AddressAdded(11, on([192, 0, 2, 5], 30)));
    let lte = &story.controller.uplinks()[1].treatments[IPV4];
    assert_eq!(lte.outside(), [Ipv4Addr::new(192, 0, 2, 6)]);
}

#[test]
fn configured_outside_addresses_are_the_gateways_own_wherever_they_lie() {
    let addresses = [[198, 51, 100, 7], [198, 51, 100, 8]].map(Ipv4Addr::from);
    let mut given = both_auto();
    given.uplinks[0].1.outside = addresses.into();
    let (controller, actions) = begin(private(), given);
    let entry = entry(&actions, FIBER).expect("it is written");
    assert_eq!(outside(&entry), addresses);
    for (address, owner) in addresses.into_iter().zip([0, 1]) {
        assert!(actions.contains(&Action::SetOutside(address, Some(owner))));
        assert!(controller.knows_outside(address));
    }
    let own = actions.iter().find_map(|action| {
        let Action::SetSegments(IPV4, segments) = action else {
            return None;
        };
        Some(segments.clone())
    });
    let own = own.expect("the table is written");
    let start = u128::from(addresses[0].to_bits());
    assert!(own.contains(&(start, multihome_common::address::Class::Gateway)));
    assert!(!controller.wants_tables(), "they were in the first table");
}

#[test]
fn a_prefix_is_translated_and_nothing_is_when_the_uplink_is_routed() {
    let mut given = both_auto();
    given.translation.inside_prefix = "fd12:3456:789a::/48".parse().ok();
    for (_, uplink) in &mut given.uplinks {
        uplink.prefix = "2001:db8:1::/48".parse().ok();
    }
    given.uplinks[1].1.mode = Mode::Routed;
    let (_, actions) = begin(kernel(), given);
    let fiber = entry(&actions, FIBER).expect("it is written");
    assert_eq!(fiber.mode, [MODE_ROUTED, MODE_NPTV6]);
    assert_eq!(fiber.prefix.length(), 48);
    let lte = entry(&actions, LTE).expect("it is written");
    assert_eq!(lte.mode, [MODE_ROUTED; 2]);
    assert_eq!(lte.prefix, Default::default());
    let conduct = GroupWords::conduct([Policy::FiveTuple, Policy::SourceDestination], 0);
    assert!(
        actions.contains(&Action::SetConduct(0, conduct)),
        "{actions:?}"
    );
}

#[test]
fn what_is_hashed_follows_from_translation_unless_it_is_configured() {
    let conduct = |net: NetState, change: fn(&mut Settings)| {
        let mut given = both_auto();
        change(&mut given);
        Story::begin_with(net, given).conduct
    };
    let word = |policy, flags| GroupWords::conduct([policy, Policy::FiveTuple], flags);
    assert_eq!(conduct(kernel(), |_| {}), word(Policy::FiveTuple, 0));
    assert_eq!(
        conduct(private(), |_| {}),
        word(Policy::SourceDestination, 0)
    );
    let hold = |given: &mut Settings| given.groups[0].config.on_uplink_loss = OnUplinkLoss::Hold;
    assert_eq!(
        conduct(private(), hold),
        word(Policy::SourceDestination, GROUP_HOLD)
    );
    let source = |given: &mut Settings| given.groups[0].config.hash = Some(HashPolicy::Src);
    assert_eq!(
        conduct(private(), source),
        GroupWords::conduct([Policy::Source; 2], 0)
    );
}

#[test]
fn flags_say_who_may_come_in() {
    let mut given = both_auto();
    given.translation.filtering = Filtering::EndpointIndependent;
    given.translation.unasked = Unasked::Drop;
    let (_, actions) = begin(private(), given);
    let flags = entry(&actions, FIBER).map(|entry| entry.flags);
    assert_eq!(flags, Some(UPLINK_OPEN_FILTER | UPLINK_DROP_UNASKED));
}

#[test]
fn flows_go_back_to_an_uplink_that_has_been_up_for_long_enough() {
    let mut story = Story::begin(1, None);
    story.wait(FAILBACK_AFTER);
    assert_eq!(story.settled, 0b11);
    story.probes(FIBER, false);
    assert_eq!(story.settled, 0b10);
    story.probes(FIBER, true);
    story.wait(FAILBACK_AFTER - TICK);
    assert_eq!((story.eligible, story.settled), (0b11, 0b10));
    story.wait(TICK);
    assert_eq!(story.settled, 0b11);
    let mut sticky = settings(vec![uplink_config("fiber", "fiber0", 1)]);
    sticky.groups[0].config.failback = Failback::Sticky;
    let mut story = Story::begin_with(kernel(), sticky);
    story.wait(FAILBACK_AFTER * 2);
    assert_eq!(story.settled, 0);
}

#[test]
fn a_flow_has_ended_when_its_address_or_its_uplink_is_gone() {
    let mut story = Story::begin_with(private(), both_auto());
    let flow = |uplink: u8, address: [u8; 4], pool: u16| {
        let slot = FlowSlot::default();
        let outside = Outside {
            address: u32::from_be_bytes(address),
            port: 5000,
            pool,
        };
        let key = FlowKey::v4(0x0a01_0005, 0xcb00_7101, 5000 << 16 | 80, protocol::TCP);
        slot.fill(&key, uplink, 0, outside, &HostEntry::default(), 1);
        slot
    };
    let old = flow(FIBER, [192, 0, 2, 2], 0);
    assert!(!story.controller.has_ended(&old));
    assert!(
        story.controller.has_ended(&flow(FIBER, [192, 0, 2, 2], 1)),
        "another's part"
    );
    assert!(
        story.controller.has_ended(&flow(LTE, [192, 0, 2, 2], 0)),
        "another's address"
    );
    assert!(
        story.controller.has_ended(&flow(9, [192, 0, 2, 2], 0)),
        "no such uplink"
    );
    assert!(
        !story.controller.has_ended(&flow(9, [0; 4], 0)),
        "it is not translated"
    );
    story.net(NetEvent::AddressGone(10, address(FIBER)));
    assert!(
        !story.controller.has_ended(&old),
        "the address may come back"
    );
    story.net(NetEvent::AddressAdded(10, on([198, 51, 100, 9], 24)));
    assert!(story.controller.has_ended(&old));
}
