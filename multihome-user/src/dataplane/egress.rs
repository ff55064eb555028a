//! The tc program that gives tags to what the kernel itself sends by a device: put on, found again, taken off.
//!
//! It is attached by the clsact qdisc, whose filters stay when the process that made them ends. That a device
//! has one is noted by a pin of the program, named after the device.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
};
use nix::net::if_::if_indextoname;

use super::DataplaneError;

/// How pins of the program are told from others.
pub const EGRESS_PREFIX: &str = "egress-";

/// The filter's place among those of a device, by which it is found again.
const PRIORITY: u16 = 0x6d68;
const HANDLE: TcHandle = TcHandle::new(0, 1);

fn pin_path(pins: &Path, ifindex: u32) -> PathBuf {
    pins.join(format!("{EGRESS_PREFIX}{ifindex}"))
}

/// The device of a pinned program; `None` for other pins.
pub fn ifindex_of(pin: &str) -> Option<u32> {
    pin.strip_prefix(EGRESS_PREFIX)?.parse().ok()
}

/// Makes the kernel's frames by this device pass the program, in place of an earlier controller's.
///
/// # Errors
/// When the kernel has no clsact qdisc or cls_bpf filter, or refuses.
pub fn attach(
    program: &mut SchedClassifier,
    pins: &Path,
    device: &str,
    ifindex: u32,
) -> Result<(), DataplaneError> {
    let refused = |reason: String| DataplaneError::Egress {
        device: device.to_owned(),
        reason,
    };
    // It may be there, be it ours or another's.
    let qdisc = qdisc_add_clsact(device);
    let known = SchedClassifierLink::attached(device, TcAttachType::Egress, PRIORITY, HANDLE, None)
        .map_err(|error| refused(error.to_string()))?;
    let attached = program.attach_to_link(known).or_else(|_| {
        let options = NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            classid: None,
        };
        let how = TcAttachOptions::Netlink(options);
        program.attach_with_options(device, TcAttachType::Egress, how)
    });
    let link = attached
        .and_then(|id| program.take_link(id))
        .map_err(|error| {
            let qdisc = qdisc.err().map(|error| format!("clsact: {error}; "));
            refused(format!(
                "{}{}",
                qdisc.unwrap_or_default(),
                crate::exit::chain(&error)
            ))
        })?;
    // Dropped, it would take the filter off.
    std::mem::forget(link);
    let path = pin_path(pins, ifindex);
    // The program that is pinned may be an earlier controller's.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DataplaneError::Path {
                action: "remove the pin",
                path,
                source: error,
            });
        }
        Ok(()) | Err(_) => {}
    }
    program.pin(&path).map_err(|source| DataplaneError::Pin {
        device: device.to_owned(),
        source,
    })?;
    // aya keeps one pin a program in mind, and several devices may have one.
    Ok(())
}

/// Takes the program off the device of this pin, and removes the pin. A device that is gone took its filter
/// along.
///
/// # Errors
/// When the pin cannot be removed.
pub fn detach(path: &Path) -> Result<(), DataplaneError> {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let ifindex = name.and_then(|name| ifindex_of(&name));
    let device = ifindex.and_then(|ifindex| if_indextoname(ifindex).ok());
    if let Some(device) = device.as_deref().and_then(|device| device.to_str().ok()) {
        let link =
            SchedClassifierLink::attached(device, TcAttachType::Egress, PRIORITY, HANDLE, None);
        // Somebody else may have removed the filter.
        if let Ok(link) = link
            && let Err(error) = aya::programs::links::Link::detach(link)
        {
            tracing::debug!("{device}: the filter was gone: {error}");
        }
    }
    fs::remove_file(path).map_err(|source| DataplaneError::Path {
        action: "remove the pin",
        path: path.into(),
        source,
    })
}

/// Takes the program off a device, if it has one.
///
/// # Errors
/// As for [`detach`].
pub fn release(pins: &Path, ifindex: u32) -> Result<(), DataplaneError> {
    let path = pin_path(pins, ifindex);
    if path.exists() { detach(&path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_names_its_device() {
        assert_eq!(pin_path(Path::new("/pins"), 7), Path::new("/pins/egress-7"));
        assert_eq!(ifindex_of("egress-7"), Some(7));
        assert_eq!(ifindex_of("link-7-native"), None);
        assert_eq!(ifindex_of("egress-x"), None);
    }
}
