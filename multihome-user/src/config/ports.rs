//! Keeps the ports of translated flows and forwards apart from those of the kernel's own sockets.

use std::ops::RangeInclusive;

use super::{Config, error::ConfigError, origin::Origin, value::PortRange};

/// Fails when a port of the configuration is one that the kernel gives to sockets of its own.
///
/// `kernel` is `net.ipv4.ip_local_port_range`. The gateway's sockets share the addresses that
/// flows are translated to, so an answer to such a port could belong to either.
pub fn check_ports(config: &Config, kernel: RangeInclusive<u16>) -> Result<(), ConfigError> {
    let Some(kernel) = PortRange::new((*kernel.start()).max(1), *kernel.end()) else {
        return Ok(());
    };
    let nat = config.nat.ports.iter().copied();
    let forwards = config.forwards.iter().map(|forward| forward.outside);
    check(nat, &config.origins.nat_ports, kernel)?;
    check(forwards, &config.origins.forwards, kernel)
}

/// Fails at the first range that overlaps the kernel's.
fn check(
    ranges: impl Iterator<Item = PortRange>,
    origins: &[Origin],
    kernel: PortRange,
) -> Result<(), ConfigError> {
    for (at, ports) in ranges.enumerate() {
        if ports.overlaps(kernel) {
            return Err(ConfigError::KernelPorts {
                origin: origins.get(at).cloned().unwrap_or(Origin::Default),
                ports,
                kernel,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
    use std::path::Path;

    /// What is said of a file with one range for flows and one forward, in lines 6 and 10.
    fn checked(flows: &str, forward: &str, kernel: RangeInclusive<u16>) -> Result<(), String> {
        let text = format!(
            "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n\
             [nat]\nports = [\"10-20\", \"{flows}\"]\n\
             [[forward]]\nprotocol = \"tcp\"\ninside = \"192.168.1.10:80\"\n\
             outside = \"{forward}\"\n"
        );
        let config = Config::from_toml(Path::new("gw.toml"), &text).expect("the file is right");
        check_ports(&config, kernel).map_err(|error| exit::message(&error))
    }

    #[test]
    fn ports_beside_the_kernels_are_right() {
        assert_eq!(checked("1024-32767", "80", 32768..=60999), Ok(()));
        assert_eq!(checked("61000-65535", "32767", 32768..=60999), Ok(()));
    }

    #[test]
    fn nothing_overlaps_an_empty_range() {
        let (low, high) = (60999, 32768);
        assert_eq!(checked("1024-65535", "80", low..=high), Ok(()));
        assert_eq!(checked("1024-65535", "80", 0..=0), Ok(()));
    }

    #[test]
    fn the_kernels_ports_are_named_with_the_place() {
        assert_eq!(
            checked("1024-32768", "80", 32768..=60999),
            Err(
                "error: gw.toml:6:19: the ports 1024-32768 overlap 32768-60999, which the kernel \
                 gives to the gateway's own connections\n  help: choose others, or give the kernel \
                 less by the sysctl net.ipv4.ip_local_port_range"
                    .into()
            )
        );
        let error = checked("1024-2047", "60999", 32768..=60999).expect_err("they overlap");
        assert!(
            error.starts_with("error: gw.toml:10:11: the ports 60999 overlap 32768-60999"),
            "{error}"
        );
    }

    #[test]
    fn ports_of_no_place_are_checked_too() {
        let text = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n";
        let mut config = Config::from_toml(Path::new("gw.toml"), text).expect("the file is right");
        config.nat.ports = vec!["40000".parse().expect("a port")];
        let error = check_ports(&config, 32768..=60999).expect_err("they overlap");
        assert!(error.to_string().starts_with("default: "), "{error}");
    }
}
