//! Kernel settings that stand in a gateway's way: which is wrong, on which device, and what to do.
//! Reading them is left to the caller, so that tests need no kernel.

use std::{fs, path::Path};

/// A device of the gateway, as far as settings matter for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// It is an uplink's, not a LAN port.
    pub uplink: bool,
    /// The gateway waits for an IPv6 next hop there, and has none.
    pub awaits_ipv6: bool,
    /// Another uplink has an address in a subnet of its.
    pub shares_subnet: bool,
}

/// A setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name, as sysctl has it.
    pub setting: String,
    /// What it says.
    pub value: String,
    /// What comes of that.
    pub harm: &'static str,
    /// The command that sets it right, until the next reboot.
    pub command: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            setting,
            value,
            harm,
            command,
        } = self;
        write!(
            f,
            "{setting} is {value}: {harm}; set it right by `{command}`"
        )
    }
}

/// What is wrong for these devices. `families` tells whether IPv4 and IPv6 are in use; `read` gives a
/// setting below `/proc/sys/net`, or `None` where this kernel does not have it.
pub fn check(
    devices: &[Device],
    families: [bool; 2],
    read: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let [ipv4, ipv6] = families;
    let number = |path: &str| read(path)?.trim().parse::<i64>().ok();
    let of =
        |family: &str, device: &str, name: &str| number(&format!("{family}/conf/{device}/{name}"));
    let mut findings = Vec::new();
    let mut wrong = |path: String, value: i64, harm: &'static str, right: i64| {
        let setting = sysctl_name(&path);
        findings.push(Finding {
            command: format!("sysctl -w {setting}={right}"),
            setting,
            value: value.to_string(),
            harm,
        });
    };
    let forwards4 = !ipv4 || number("ipv4/ip_forward") != Some(0);
    if !forwards4 {
        wrong(
            "ipv4/ip_forward".into(),
            0,
            "the kernel delivers nothing to LAN hosts whose MAC is not known yet",
            1,
        );
    }
    if ipv6 && of("ipv6", "all", "forwarding") == Some(0) {
        wrong(
            "ipv6/conf/all/forwarding".into(),
            0,
            "the kernel delivers nothing to LAN hosts whose MAC is not known yet",
            1,
        );
    }
    for device in devices {
        let name = device.name.as_str();
        if ipv4 && forwards4 && of("ipv4", name, "forwarding") == Some(0) {
            wrong(
                format!("ipv4/conf/{name}/forwarding"),
                0,
                "the kernel delivers nothing that comes in there to LAN hosts whose MAC is not known yet",
                1,
            );
        }
        if !device.uplink {
            continue;
        }
        // The larger of the two is in force, and 1 is strict (Documentation/networking/ip-sysctl).
        let both = |setting| {
            let all = of("ipv4", "all", setting);
            all.max(of("ipv4", name, setting))
        };
        if ipv4 && both("rp_filter") == Some(1) {
            wrong(
                format!("ipv4/conf/{name}/rp_filter"),
                1,
                "strict, so the kernel drops what comes in there and would be answered by another uplink",
                2,
            );
        }
        if ipv4 && device.shares_subnet && both("arp_ignore") == Some(0) {
            wrong(
                format!("ipv4/conf/{name}/arp_ignore"),
                0,
                "another uplink is in the same subnet, and each answers ARP for the other's addresses",
                1,
            );
        }
        if !device.awaits_ipv6 {
            continue;
        }
        if of("ipv6", name, "disable_ipv6") == Some(1) {
            wrong(
                format!("ipv6/conf/{name}/disable_ipv6"),
                1,
                "the uplink can have no IPv6",
                0,
            );
        } else if of("ipv6", name, "accept_ra") == Some(1)
            && of("ipv6", name, "forwarding") == Some(1)
        {
            wrong(
                format!("ipv6/conf/{name}/accept_ra"),
                1,
                "a machine that forwards passes over router advertisements, and the uplink has no IPv6 \
                 next hop",
                2,
            );
        }
    }
    findings
}

/// Reads a setting of the calling thread's network namespace.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys/net").join(path)).ok()
}

/// The name that sysctl takes: with dots, or with slashes where a device's name has a dot.
fn sysctl_name(path: &str) -> String {
    if path.contains('.') {
        format!("net/{path}")
    } else {
        format!("net.{}", path.replace('/', "."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Settings as they should be, for two uplinks and a LAN port.
    const RIGHT: [(&str, i64); 15] = [
        ("ipv4/ip_forward", 1),
        ("ipv4/conf/all/rp_filter", 0),
        ("ipv4/conf/all/arp_ignore", 0),
        ("ipv4/conf/wan0/rp_filter", 2),
        ("ipv4/conf/wan0/arp_ignore", 0),
        ("ipv4/conf/wan0/forwarding", 1),
        ("ipv4/conf/wan.5/rp_filter", 0),
        ("ipv4/conf/wan.5/arp_ignore", 0),
        ("ipv4/conf/wan.5/forwarding", 1),
        ("ipv4/conf/lan0/forwarding", 1),
        ("ipv4/conf/lan0/rp_filter", 1),
        ("ipv6/conf/all/forwarding", 1),
        ("ipv6/conf/wan0/accept_ra", 1),
        ("ipv6/conf/wan0/forwarding", 1),
        ("ipv6/conf/wan0/disable_ipv6", 0),
    ];

    fn devices() -> Vec<Device> {
        let device = |name: &str, uplink| Device {
            name: name.into(),
            uplink,
            ..Device::default()
        };
        vec![
            device("wan0", true),
            device("wan.5", true),
            device("lan0", false),
        ]
    }

    fn found(devices: &[Device], families: [bool; 2], changes: &[(&str, i64)]) -> Vec<String> {
        let settings: BTreeMap<&str, i64> = RIGHT.iter().chain(changes).copied().collect();
        let read = |path: &str| settings.get(path).map(|value| format!("{value}\n"));
        let findings = check(devices, families, read);
        findings.into_iter().map(|it| it.command).collect()
    }

    #[test]
    fn what_is_right_is_not_complained_of() {
        assert_eq!(found(&devices(), [true; 2], &[]), [""; 0]);
        assert!(check(&devices(), [true; 2], |_| None).is_empty());
    }

    #[test]
    fn forwarding_that_is_off_is_named_once() {
        let off = [("ipv4/ip_forward", 0), ("ipv4/conf/wan0/forwarding", 0)];
        assert_eq!(
            found(&devices(), [true; 2], &off),
            ["sysctl -w net.ipv4.ip_forward=1"]
        );
        assert_eq!(
            found(&devices(), [true; 2], &off[1..]),
            ["sysctl -w net.ipv4.conf.wan0.forwarding=1"]
        );
        let off = [("ipv6/conf/all/forwarding", 0)];
        assert_eq!(
            found(&devices(), [true; 2], &off),
            ["sysctl -w net.ipv6.conf.all.forwarding=1"]
        );
        assert_eq!(found(&devices(), [true, false], &off), [""; 0]);
    }

    #[test]
    fn of_rp_filter_the_larger_value_counts() {
        let strict = [("ipv4/conf/all/rp_filter", 1)];
        assert_eq!(
            found(&devices(), [true; 2], &strict),
            ["sysctl -w net/ipv4/conf/wan.5/rp_filter=2"],
            "wan0 is loose whatever `all` says, and a LAN port may be strict"
        );
        let loose = [
            ("ipv4/conf/all/rp_filter", 2),
            ("ipv4/conf/wan.5/rp_filter", 1),
        ];
        assert_eq!(found(&devices(), [true; 2], &loose), [""; 0]);
    }

    #[test]
    fn router_advertisements_matter_where_ipv6_is_waited_for() {
        let mut devices = devices();
        devices[0].awaits_ipv6 = true;
        assert_eq!(
            found(&devices, [true; 2], &[]),
            ["sysctl -w net.ipv6.conf.wan0.accept_ra=2"]
        );
        for right in [0, 2] {
            let accept = [("ipv6/conf/wan0/accept_ra", right)];
            assert_eq!(found(&devices, [true; 2], &accept), [""; 0]);
        }
        assert_eq!(
            found(&devices, [true; 2], &[("ipv6/conf/wan0/disable_ipv6", 1)]),
            ["sysctl -w net.ipv6.conf.wan0.disable_ipv6=0"]
        );
    }

    #[test]
    fn uplinks_of_one_subnet_must_answer_for_their_own_addresses_alone() {
        let mut devices = devices();
        devices[0].shares_subnet = true;
        assert_eq!(
            found(&devices, [true; 2], &[]),
            ["sysctl -w net.ipv4.conf.wan0.arp_ignore=1"]
        );
        let set = [("ipv4/conf/all/arp_ignore", 1)];
        assert_eq!(found(&devices, [true; 2], &set), [""; 0]);
    }

    #[test]
    fn a_finding_says_what_is_wrong_and_what_to_do() {
        let read = |path: &str| (path == "ipv4/ip_forward").then(|| "0".to_owned());
        let findings = check(&[], [true; 2], read);
        assert_eq!(
            findings[0].to_string(),
            "net.ipv4.ip_forward is 0: the kernel delivers nothing to LAN hosts whose MAC is not known \
             yet; set it right by `sysctl -w net.ipv4.ip_forward=1`"
        );
    }
}
