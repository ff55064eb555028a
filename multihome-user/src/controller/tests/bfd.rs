//! What BFD sessions do to their paths: RFC 5882 in stories.

use super::{
    story::{FIBER, LTE, Story, address, kernel, next_hop, seen, settings, uplink_config},
    *,
};
use crate::{
    bfd::{BfdSettings, Cause, Diagnostic, Session, SessionId, Snapshot, State},
    config::{BfdConfig, BfdPeer},
    netlink::{Address, Neighbour},
    probe::Family,
};

const BFD: BfdConfig = BfdConfig {
    interval: Duration::from_millis(10),
    multiplier: 3,
    passive: false,
    ipv4: Some(BfdPeer::NextHop),
    ipv6: Some(BfdPeer::NextHop),
};

fn with(bfd: BfdConfig) -> Story {
    let fiber = UplinkConfig {
        bfd: Some(bfd),
        ..uplink_config("fiber", "fiber0", 1)
    };
    Story::begin_with(
        kernel(),
        settings(vec![fiber, uplink_config("lte", "lte0", 1)]),
    )
}

fn plans(story: &Story) -> Vec<BfdPlan> {
    story.controller.bfd_plans()
}

/// The session of the first plan stands so now.
fn stands(story: &mut Story, state: State, remote_state: State, cause: Cause) -> Vec<Action> {
    let generation = plans(story)[0].generation;
    stands_in(story, generation, state, remote_state, cause)
}

fn stands_in(
    story: &mut Story,
    generation: u64,
    state: State,
    remote_state: State,
    cause: Cause,
) -> Vec<Action> {
    let fresh = BfdSettings {
        interval: BFD.interval,
        multiplier: 3,
        passive: false,
    };
    let snapshot = Snapshot {
        state,
        remote_state,
        cause,
        ..Session::new(fresh, 1, [0; 32], story.now).snapshot()
    };
    let report = SessionReport {
        id: SessionId {
            uplink: FIBER,
            family: Family::Ipv4,
        },
        generation,
        snapshot,
        at: story.now,
        held_up: None,
    };
    story.tell(Event::Bfd(report))
}

fn comes_up(story: &mut Story) -> Vec<Action> {
    stands(story, State::Up, State::Up, Cause::Established)
}

const EXPIRED: Cause = Cause::DetectionTimeExpired;

fn goes_down(story: &mut Story) -> Vec<Action> {
    stands(story, State::Down, State::Down, EXPIRED)
}

fn events(actions: &[Action]) -> Vec<(Kind, String)> {
    let events = actions.iter().filter_map(|action| {
        let Action::Event(event) = action else {
            return None;
        };
        Some((event.kind, event.cause.clone()))
    });
    events.collect()
}

#[test]
fn a_session_that_goes_down_moves_flows_with_the_first_action() {
    let mut story = with(BFD);
    comes_up(&mut story);
    assert_eq!(story.eligible, 0b11);
    let actions = goes_down(&mut story);
    assert_eq!(actions.first(), Some(&Action::SetEligible(0, IPV4, 0b10)));
    let cause = "BFD session to 192.0.2.1: control detection time expired".to_owned();
    assert_eq!(
        events(&actions),
        [
            (Kind::PathDown, cause.clone()),
            (Kind::UplinkDown, cause),
            (
                Kind::BfdDown,
                "to 192.0.2.1: control detection time expired".to_owned()
            ),
        ]
    );
}

#[test]
fn a_path_comes_back_when_its_session_is_up_and_its_probes_answer() {
    // Its probes never failed.
    let mut story = with(BFD);
    comes_up(&mut story);
    goes_down(&mut story);
    story.probes(FIBER, true);
    stands(&mut story, State::Init, State::Down, Cause::PeerHeard);
    assert_eq!(story.eligible, 0b10);
    let actions = comes_up(&mut story);
    assert_eq!(story.eligible, 0b11);
    assert_eq!(
        events(&actions)[0],
        (
            Kind::PathUp,
            "BFD session to 192.0.2.1: established".to_owned()
        )
    );
    // Now they did.
    goes_down(&mut story);
    story.probes(FIBER, false);
    comes_up(&mut story);
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
    // A session that is up saves no path whose probes fail.
    story.probes(FIBER, false);
    assert_eq!(story.eligible, 0b10);
}

#[test]
fn a_session_that_never_was_up_takes_no_path_down_and_is_remarked_once() {
    let mut story = with(BFD);
    stands(&mut story, State::Down, State::Down, Cause::Created);
    stands(&mut story, State::Init, State::Down, Cause::PeerHeard);
    stands(&mut story, State::Down, State::Down, EXPIRED);
    assert_eq!(story.eligible, 0b11);
    let mut remarks = Vec::new();
    for _ in 0..40 {
        story.now += Duration::from_millis(500);
        remarks.extend(events(&story.tell(Event::Tick)));
    }
    let remark = "BFD session to 192.0.2.1 is not up: the neighbour does not answer; the path is \
                  judged without it";
    assert_eq!(remarks, [(Kind::PathRemark, remark.to_owned())]);
    assert!(story.controller.uplinks()[0].story().contains(remark));
    assert_eq!(story.eligible, 0b11);
    comes_up(&mut story);
    assert!(!story.controller.uplinks()[0].story().contains("BFD"));
}

#[test]
fn a_session_that_is_held_down_is_no_failure() {
    let admin_down = |story: &mut Story| {
        stands(
            story,
            State::Down,
            State::AdminDown,
            Cause::NeighborAdminDown,
        )
    };
    let mut story = with(BFD);
    comes_up(&mut story);
    let actions = admin_down(&mut story);
    assert_eq!(story.eligible, 0b11);
    assert_eq!(
        events(&actions),
        [(
            Kind::BfdDown,
            "to 192.0.2.1: neighbor signaled administratively down".to_owned()
        )]
    );
    // It may even end a failure: nobody says any more that the path has failed.
    comes_up(&mut story);
    goes_down(&mut story);
    assert_eq!(story.eligible, 0b10);
    let actions = admin_down(&mut story);
    assert_eq!(story.eligible, 0b11);
    assert_eq!(
        events(&actions)[0],
        (
            Kind::PathUp,
            "BFD session to 192.0.2.1: neighbor signaled administratively down".to_owned()
        )
    );
}

#[test]
fn the_neighbours_own_words_are_told() {
    let mut story = with(BFD);
    comes_up(&mut story);
    let cause = Cause::NeighborSignaledDown(Diagnostic::DETECTION_TIME_EXPIRED);
    stands(&mut story, State::Down, State::Down, cause);
    assert_eq!(
        story.controller.uplinks()[0].cause,
        "BFD session to 192.0.2.1: neighbor signaled session down: control detection time expired"
    );
}

#[test]
fn sessions_are_with_next_hops_whose_mac_addresses_are_known() {
    let story = with(BFD);
    let plans = plans(&story);
    assert_eq!(plans.len(), 1, "there is no IPv6 next hop");
    let plan = plans[0];
    assert_eq!((plan.id.uplink, plan.id.family), (FIBER, Family::Ipv4));
    assert_eq!((plan.ifindex, plan.peer), (10, next_hop(FIBER)));
    assert_eq!(plan.source, address(FIBER).address);
    assert_eq!(plan.peer_mac, [6; 6]);
    assert_eq!(plan.settings.interval, BFD.interval);
    let unspoken = Story::begin(1, None);
    assert_eq!(unspoken.controller.bfd_plans(), []);
}

#[test]
fn another_mac_address_is_another_way_and_another_address_another_session() {
    let mut story = with(BFD);
    comes_up(&mut story);
    let before = plans(&story)[0];
    let moved = Neighbour {
        mac: Some([8; 6]),
        ..neighbour(NeighbourState::Reachable)
    };
    let actions = story.net(NetEvent::Neighbour {
        ifindex: 10,
        address: next_hop(FIBER),
        neighbour: moved,
    });
    let after = BfdPlan {
        peer_mac: [8; 6],
        ..before
    };
    assert!(actions.contains(&Action::Bfd(vec![after])));
    goes_down(&mut story);
    assert_eq!(story.eligible, 0b10);

    // The provider gives another address: what the old session said is of no account.
    story.net(NetEvent::AddressGone(10, address(FIBER)));
    let renumbered = Address {
        address: IpAddr::from([192, 0, 2, 3]),
        ..address(FIBER)
    };
    story.net(NetEvent::AddressAdded(10, renumbered.clone()));
    assert_eq!(story.eligible, 0b11);
    let after = plans(&story)[0];
    assert_eq!(after.source, renumbered.address);
    assert!(after.generation > before.generation);
    stands_in(
        &mut story,
        before.generation,
        State::Up,
        State::Up,
        Cause::Established,
    );
    goes_down(&mut story);
    assert_eq!(story.eligible, 0b11, "a late word of the old session");
}

#[test]
fn a_peer_that_is_not_the_next_hop_is_resolved_and_spoken_to() {
    let peer = Ipv4Addr::new(192, 0, 2, 2);
    let bfd = BfdConfig {
        ipv4: Some(BfdPeer::Address(peer)),
        ipv6: None,
        ..BFD
    };
    let mut story = with(bfd);
    assert_eq!(plans(&story), []);
    let actions = story.tell(Event::Tick);
    assert!(actions.contains(&Action::Resolve(10, peer.into())));
    let actions = story.net(NetEvent::Neighbour {
        ifindex: 10,
        address: peer.into(),
        neighbour: neighbour(NeighbourState::Reachable),
    });
    assert!(
        matches!(&actions[..], [.., Action::Bfd(_)] | [Action::Bfd(_), ..]),
        "{actions:?}"
    );
    assert_eq!(plans(&story)[0].peer, IpAddr::from(peer));
    comes_up(&mut story);
    goes_down(&mut story);
    assert_eq!(story.eligible, 0b10);
    // The next hop's entry is not the peer's.
    story.net(seen(FIBER, NeighbourState::Stale));
    assert_eq!(plans(&story)[0].peer_mac, [6; 6]);
    story.probes(LTE, true);
}
