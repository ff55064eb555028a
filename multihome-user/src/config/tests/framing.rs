//! Tags and sessions: what is written, and what is refused.

use super::*;

fn read(text: &str) -> Config {
    Config::from_toml(Path::new("gw.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    match Config::from_toml(Path::new("gw.toml"), text) {
        Ok(config) => panic!("{config:?}"),
        Err(error) => error.to_string(),
    }
}

const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

#[test]
fn lan_ports_have_tags_and_names() {
    let config = read(
        r#"
lan = [
    "lan0",
    "trunk0:20",
    { device = "trunk1", vlan = [200, 100], name = "guest" },
    { device = "trunk2", vlan = "7.8", outer_tag = "802.1q" },
    { device = "trunk3", vlan = 5, outer_tag = "802.1ad" },
]
[[uplink]]
name = "a"
device = "eth0"
"#,
    );
    let ports: Vec<(&str, &str, Framing)> = config
        .lan
        .iter()
        .map(|port| (port.name.as_str(), port.device.as_str(), port.vlan))
        .collect();
    let tagged = |kind, id| Framing::PLAIN.tagged(kind, id);
    assert_eq!(
        ports,
        [
            ("lan0", "lan0", Framing::PLAIN),
            ("trunk0.20", "trunk0", tagged(TAG, 20)),
            ("guest", "trunk1", tagged(SERVICE_TAG, 200).tagged(TAG, 100)),
            ("trunk2.7.8", "trunk2", tagged(TAG, 7).tagged(TAG, 8)),
            ("trunk3.5", "trunk3", tagged(SERVICE_TAG, 5)),
        ]
    );
}

#[test]
fn uplinks_have_tags_and_sessions() {
    let config = read(
        r#"
lan = "lan0"
fix_offloads = true
[[uplink]]
name = "a"
device = "eth0"
vlan = [200, 100]
[[uplink]]
name = "b"
device = "eth1"
vlan = 7
pppoe = "ppp0"
"#,
    );
    assert!(config.fix_offloads);
    let [a, b] = &config.uplinks[..] else {
        panic!("{:?}", config.uplinks)
    };
    let qinq = Framing::PLAIN.tagged(SERVICE_TAG, 200).tagged(TAG, 100);
    assert_eq!((a.vlan, a.layer3()), (qinq, "eth0"));
    assert_eq!(
        (b.vlan, b.layer3()),
        (Framing::PLAIN.tagged(TAG, 7), "ppp0")
    );
}

#[test]
fn flags_stand_over_the_file_key_by_key() {
    let below = file::parse(
        Path::new("gw.toml"),
        "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\nvlan = 5\nouter_tag = \"802.1ad\"\n",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let flags = Flags {
        lan: vec![port("trunk0:9")],
        uplinks: vec!["a,vlan=6".parse().expect("an uplink")],
        ..Flags::default()
    };
    let config = merge::merge(below, flags.into()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.lan[0].vlan, Framing::PLAIN.tagged(TAG, 9));
    assert_eq!(
        config.uplinks[0].vlan,
        Framing::PLAIN.tagged(SERVICE_TAG, 6)
    );
}

#[test]
fn mistakes_are_told_with_their_place() {
    let uplink = "[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n";
    let vlan = "an id is 1 to 4094, and of two the outer one stands first, such as [200, 100] or \"200.100\"";
    for (text, message) in [
        (
            format!("lan = \"lan0:0\"\n{uplink}"),
            format!("gw.toml:1:7: \"0\" is no VLAN: {vlan}"),
        ),
        (
            format!("lan = \"lan0\"\n{uplink}vlan = 4095\n"),
            format!("gw.toml:5:8: \"4095\" is no VLAN: {vlan}"),
        ),
        (
            format!("lan = \"lan0\"\n{uplink}vlan = [1, 2, 3]\n"),
            format!("gw.toml:5:8: \"1.2.3\" is no VLAN: {vlan}"),
        ),
        (
            format!("lan = \"lan0\"\n{uplink}outer_tag = \"802.1q\"\n"),
            "gw.toml:5:13: outer_tag says what kind of tag a VLAN has, and no vlan is given".into(),
        ),
        (
            format!("lan = [\"t:1\", \"t:2\"]\n{uplink}"),
            "gw.toml:1:15: device \"t\" is already a LAN device (gw.toml:1:8)".into(),
        ),
        (
            format!("lan = [{{ device = \"a\", name = \"x\" }}, {{ device = \"b\", name = \"x\" }}]\n{uplink}"),
            "gw.toml:1:38: there is already a LAN port \"x\" (gw.toml:1:8)".into(),
        ),
        (
            format!("lan = \"lan0\"\n{uplink}pppoe = \"ppp0\"\nbfd = true\n"),
            "gw.toml:6:7: uplink \"a\" is a PPPoE session, which its provider watches by LCP; BFD has no \
             neighbour on it"
                .into(),
        ),
        (
            format!("lan = \"lan0\"\n{uplink}pppoe = \"eth0\"\n"),
            "gw.toml:5:9: device \"eth0\" is already uplink \"a\" (gw.toml:4:10)".into(),
        ),
    ] {
        assert_eq!(refused(&text), message, "{text}");
    }
}
