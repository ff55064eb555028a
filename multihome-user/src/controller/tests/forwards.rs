//! Stories of hosts that forwards lead to.

use super::{story::settings, *};

fn asked(actions: &[Action]) -> Vec<IpAddr> {
    let asked = actions.iter().filter_map(|action| {
        let Action::Resolve(1, address) = action else {
            return None;
        };
        Some(*address)
    });
    asked.collect()
}

/// A gateway whose forwards lead to these hosts, and what it first asks on its LAN 10.1.0.0/24.
fn gateway(hosts: &[[u8; 4]]) -> (Controller, Vec<IpAddr>, Instant) {
    let mut net = kernel();
    let own = NetEvent::AddressAdded(
        1,
        crate::netlink::Address {
            address: IpAddr::from([10, 1, 0, 1]),
            prefix_len: 24,
            usable: true,
            deprecated: false,
            broadcast: None,
            peer: None,
        },
    );
    net.apply(&own);
    let settings = Settings {
        forwards: hosts.iter().copied().map(Ipv4Addr::from).collect(),
        ..settings(vec![uplink_config("fiber", "fiber0", 1)])
    };
    let now = Instant::now();
    let mut controller = Controller::new(settings, net, now);
    let asked = asked(&controller.begin(now));
    (controller, asked, now)
}

#[test]
fn a_host_is_asked_for_before_anybody_needs_it_and_until_it_answers() {
    let host = IpAddr::from([10, 1, 0, 5]);
    let (mut controller, first, mut now) = gateway(&[[10, 1, 0, 5], [10, 1, 0, 5]]);
    assert_eq!(first, [host]);
    let mut asked_in_a_minute = 0;
    for _ in 0..120 {
        now += TICK;
        asked_in_a_minute += asked(&controller.handle(Event::Tick, now)).len();
    }
    assert_eq!(asked_in_a_minute, 12);
    let found = NetEvent::Neighbour {
        ifindex: 1,
        address: host,
        neighbour: neighbour(NeighbourState::Reachable),
    };
    let entered = controller.handle(Event::Net(found), now);
    assert!(
        matches!(entered[..], [Action::SetHost(_, Some(_))]),
        "{entered:?}"
    );
    now += Duration::from_secs(60);
    assert_eq!(
        asked(&controller.handle(Event::Tick, now)),
        [] as [IpAddr; 0]
    );
}

#[test]
fn a_host_that_is_in_no_subnet_of_the_lan_is_left_to_the_routes() {
    let (_, asked, _) = gateway(&[[10, 2, 0, 5]]);
    assert_eq!(asked, [] as [IpAddr; 0]);
}
