//! What a network device does with VLAN tags by itself, by the ethtool requests of its driver
//! (linux/ethtool.h): a tag that it takes off before XDP runs is lost to the programs.

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

/// A feature that speaks against a port with tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The name that `ethtool -K` knows it by.
    pub name: String,
    /// Its bit among the driver's features.
    bit: usize,
    /// It is on.
    active: bool,
    /// It can be switched.
    changeable: bool,
}

/// They take the tag off a frame and hand it over beside, where XDP does not see it.
const STRIP: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];
/// They drop frames of VLANs that the kernel has no device for.
const FILTER: [&str; 2] = ["rx-vlan-filter", "rx-vlan-stag-filter"];

/// Why a device cannot have ports with tags.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// The driver cannot be asked, or does not do what it is told.
    #[error("{device}: cannot {what} its offloads")]
    Driver {
        /// The device.
        device: String,
        /// What was tried: "read" or "change".
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The device does something with tags that must be switched off first.
    #[error(
        "{device}: it {}, so that the programs do not see them as they are ({} on)",
        wrong(.features),
        names(.features)
    )]
    Wrong {
        /// The device.
        device: String,
        /// What is on.
        features: Vec<Feature>,
    },
}

fn wrong(features: &[Feature]) -> &'static str {
    if features.iter().any(|it| STRIP.contains(&it.name.as_str())) {
        "takes VLAN tags off frames"
    } else {
        "drops frames with VLAN tags that the kernel has no device for"
    }
}

fn names(features: &[Feature]) -> String {
    let names: Vec<&str> = features.iter().map(|it| it.name.as_str()).collect();
    names.join(", ")
}

impl OffloadError {
    /// What can be done.
    pub fn help(&self) -> Option<String> {
        let Self::Wrong { device, features } = self else {
            return None;
        };
        if features.iter().any(|feature| !feature.changeable) {
            return Some(format!(
                "{device}'s driver cannot switch that off; use another device, or have the switch send the VLAN \
                 untagged"
            ));
        }
        let switches: Vec<String> = features
            .iter()
            .map(|feature| format!("{} off", feature.name))
            .collect();
        Some(format!(
            "switch it off with `ethtool -K {device} {}`, or let multihome do that with --fix-offloads",
            switches.join(" ")
        ))
    }
}

/// Makes sure that a device shows the programs the tags of its frames; `kernel_knows` says whether the kernel
/// has VLAN devices for them all. With `fix`, what is wrong is switched off, and stays off.
///
/// # Errors
/// When it does not, and may not or cannot be made to.
pub fn prepare(device: &str, kernel_knows: bool, fix: bool) -> Result<Vec<String>, OffloadError> {
    let failed = |what| {
        move |source| OffloadError::Driver {
            device: device.to_owned(),
            what,
            source,
        }
    };
    let driver = Driver::open(device).map_err(failed("read"))?;
    let found = driver.features().map_err(failed("read"))?;
    let features = unfit(&found, kernel_knows);
    if features.is_empty() {
        return Ok(Vec::new());
    }
    let changeable = features.iter().all(|feature| feature.changeable);
    if fix && changeable {
        driver
            .switch_off(found.len(), &features)
            .map_err(failed("change"))?;
        // A driver may say yes and do nothing.
        let found = driver.features().map_err(failed("read"))?;
        let left = unfit(&found, kernel_knows);
        if left.is_empty() {
            return Ok(features.into_iter().map(|feature| feature.name).collect());
        }
    }
    Err(OffloadError::Wrong {
        device: device.to_owned(),
        features,
    })
}

/// What of a driver's features speaks against tags.
fn unfit(features: &[Feature], kernel_knows: bool) -> Vec<Feature> {
    let is_unfit = |feature: &&Feature| {
        let name = feature.name.as_str();
        feature.active && (STRIP.contains(&name) || !kernel_knows && FILTER.contains(&name))
    };
    features.iter().filter(is_unfit).cloned().collect()
}

/// Bytes of a feature's name (ETH_GSTRING_LEN).
const NAME_LEN: usize = 32;
/// The set of strings that names features (ETH_SS_FEATURES).
const FEATURES: u32 = 4;
/// Requests (linux/ethtool.h).
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
/// SIOCETHTOOL (linux/sockios.h).
const REQUEST: libc::c_ulong = 0x8946;

/// A device's driver.
struct Driver {
    socket: Socket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Driver {
    fn open(device: &str) -> io::Result<Self> {
        let mut name = [0; libc::IFNAMSIZ];
        for (place, byte) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(device.bytes()) {
            *place = byte as libc::c_char;
        }
        Ok(Self {
            socket: Socket::new(Domain::IPV4, Type::DGRAM, None)?,
            name,
        })
    }

    /// Carries out a request, whose words the kernel may change.
    fn request(&self, words: &mut [u32]) -> io::Result<()> {
        /// The part of `struct ifreq` that this request uses, at the structure's full size.
        #[repr(C)]
        struct Interface {
            name: [libc::c_char; libc::IFNAMSIZ],
            data: *mut u32,
            rest: [u64; 2],
        }
        let mut interface = Interface {
            name: self.name,
            data: words.as_mut_ptr(),
            rest: [0; 2],
        };
        // SAFETY: the structure and the words that it points to outlive the call, and the words are as many as
        // their request says.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), REQUEST as _, &raw mut interface) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// How many features this kernel knows.
    fn count(&self) -> io::Result<usize> {
        // struct ethtool_sset_info: command, nothing, a mask of 64 bits, a number for each set.
        let mask = (1_u64 << FEATURES).to_ne_bytes();
        let half =
            |at: usize| u32::from_ne_bytes([mask[at], mask[at + 1], mask[at + 2], mask[at + 3]]);
        let mut words = [GET_SET_INFO, 0, half(0), half(4), 0];
        self.request(&mut words)?;
        Ok(words[4] as usize)
    }

    /// All features, in the order of their bits.
    fn features(&self) -> io::Result<Vec<Feature>> {
        let count = self.count()?;
        // struct ethtool_gstrings: command, set, number, names.
        let mut strings = vec![0; 3 + count * NAME_LEN / 4];
        strings[..3].copy_from_slice(&[GET_STRINGS, FEATURES, count as u32]);
        self.request(&mut strings)?;
        let names: Vec<u8> = strings[3..]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        // struct ethtool_gfeatures: command, number of blocks; of each: available, requested, active, never
        // changed.
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 4];
        words[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
        self.request(&mut words)?;
        let is_set =
            |bit: usize, word: usize| words[2 + bit / 32 * 4 + word] >> (bit % 32) & 1 == 1;
        let names = names.chunks_exact(NAME_LEN).take(count);
        let features = names.enumerate().map(|(bit, name)| {
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            Feature {
                name: String::from_utf8_lossy(name).into_owned(),
                bit,
                active: is_set(bit, 2),
                changeable: is_set(bit, 0) && !is_set(bit, 3),
            }
        });
        Ok(features.collect())
    }

    /// Switches features off, of so many that there are.
    fn switch_off(&self, count: usize, features: &[Feature]) -> io::Result<()> {
        // struct ethtool_sfeatures: command, number of blocks; of each: valid, requested.
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 2];
        words[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
        for feature in features {
            words[2 + feature.bit / 32 * 2] |= 1 << (feature.bit % 32);
        }
        self.request(&mut words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, active: bool, changeable: bool) -> Feature {
        Feature {
            name: name.to_owned(),
            bit: 0,
            active,
            changeable,
        }
    }

    #[test]
    fn what_hides_tags_is_unfit_and_a_filter_only_where_the_kernel_has_no_device() {
        let features = [
            feature("rx-checksum", true, true),
            feature("rx-vlan-hw-parse", true, true),
            feature("rx-vlan-stag-hw-parse", false, true),
            feature("rx-vlan-filter", true, true),
        ];
        let names = |kernel_knows| names(&unfit(&features, kernel_knows));
        assert_eq!(names(true), "rx-vlan-hw-parse");
        assert_eq!(names(false), "rx-vlan-hw-parse, rx-vlan-filter");
    }

    #[test]
    fn an_error_says_what_to_do() {
        let wrong = |features: &[Feature]| OffloadError::Wrong {
            device: "eth1".into(),
            features: features.to_vec(),
        };
        let strips = wrong(&[feature("rx-vlan-hw-parse", true, true)]);
        assert_eq!(
            strips.to_string(),
            "eth1: it takes VLAN tags off frames, so that the programs do not see them as they are \
             (rx-vlan-hw-parse on)"
        );
        assert_eq!(
            strips.help().as_deref(),
            Some(
                "switch it off with `ethtool -K eth1 rx-vlan-hw-parse off`, or let multihome do that with \
                 --fix-offloads"
            )
        );
        let drops = wrong(&[feature("rx-vlan-filter", true, false)]);
        assert!(drops.to_string().contains("drops frames with VLAN tags"));
        let help = drops.help().unwrap_or_default();
        assert!(help.contains("cannot switch that off"), "{help}");
    }

    #[test]
    fn the_loopback_device_can_be_asked() {
        let driver = Driver::open("lo").expect("a socket");
        let features = driver.features().expect("it is always there");
        assert!(
            features
                .iter()
                .any(|feature| feature.name == "rx-vlan-hw-parse")
        );
        assert_eq!(prepare("lo", false, false).ok(), Some(Vec::new()));
        let error = prepare("no-such-device", false, false).expect_err("it is not there");
        assert!(matches!(error, OffloadError::Driver { .. }), "{error}");
    }
}
