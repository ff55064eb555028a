//! Attaching programs to devices by BPF links, pinned by slot and ifindex, and taking links over.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, Xdp, XdpMode as AyaMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::DataplaneError;
use crate::config::XdpMode;

/// `BPF_OBJ_GET` of linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
/// `BPF_LINK_DETACH` of linux/bpf.h.
const BPF_LINK_DETACH: libc::c_int = 34;

/// Where the link of a device is pinned. The kernel does not tell a link's mode; its name does.
fn link_path(pins: &Path, ifindex: u32, mode: XdpMode) -> PathBuf {
    let mode = match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    };
    pins.join(format!("{LINK_PREFIX}{ifindex}-{mode}"))
}

/// The pinned links of a device: one at most, unless somebody else put files here.
pub fn links(pins: &Path, ifindex: u32) -> impl Iterator<Item = PathBuf> {
    [XdpMode::Native, XdpMode::Generic]
        .map(|mode| link_path(pins, ifindex, mode))
        .into_iter()
        .filter(|path| path.exists())
}

/// The device of a pinned link; `None` for other pins.
pub fn ifindex_of(pin: &str) -> Option<u32> {
    let (ifindex, _mode) = pin.strip_prefix(LINK_PREFIX)?.split_once('-')?;
    ifindex.parse().ok()
}

/// How pinned links are told from pinned maps.
pub const LINK_PREFIX: &str = "link-";

/// How a device came to run the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing was attached before.
    Anew,
    /// An earlier controller's link was taken over, without a gap.
    TakenOver,
    /// An earlier controller's program was taken off, and this one put on in the other mode: for
    /// a moment the kernel had the device's packets.
    InOtherMode,
}

/// Makes `device` run `program`: through the pinned link if there is one of this mode, else by a new
/// one. A device takes programs of one mode at a time.
///
/// # Errors
/// When the driver has no native XDP, something else is attached, or the kernel refuses. A program
/// that ran in the other mode runs again, then, as far as the kernel lets it.
pub fn attach(
    program: &mut Xdp,
    pins: &Path,
    device: &str,
    ifindex: u32,
    mode: XdpMode,
) -> Result<Attached, DataplaneError> {
    let path = link_path(pins, ifindex, mode);
    if path.exists() {
        if take_over(program, &path, device)? {
            return Ok(Attached::TakenOver);
        }
        // The link's device has gone, and another has its number now.
        remove_pin(&path)?;
    }
    let other = match mode {
        XdpMode::Native => XdpMode::Generic,
        XdpMode::Generic => XdpMode::Native,
    };
    let other_path = link_path(pins, ifindex, other);
    if !other_path.exists() {
        attach_anew(program, &path, device, ifindex, mode)?;
        return Ok(Attached::Anew);
    }
    detach(&other_path)?;
    match attach_anew(program, &path, device, ifindex, mode) {
        Ok(()) => Ok(Attached::InOtherMode),
        Err(error) => {
            if let Err(again) = attach_anew(program, &other_path, device, ifindex, other) {
                tracing::error!("{device}: the program that was taken off is not back: {again}");
            }
            Err(error)
        }
    }
}

fn attach_anew(
    program: &mut Xdp,
    path: &Path,
    device: &str,
    ifindex: u32,
    mode: XdpMode,
) -> Result<(), DataplaneError> {
    let mode = match mode {
        XdpMode::Native => AyaMode::Driver,
        XdpMode::Generic => AyaMode::Skb,
    };
    let id = program
        .attach_to_if_index(ifindex, mode)
        .map_err(|source| explain(device, source))?;
    let link = program
        .take_link(id)
        .map_err(|source| explain(device, source))?;
    // Without a link aya attaches by netlink, which leaves nothing to pin: dropping it detaches.
    let Ok(link) = FdLink::try_from(link) else {
        return Err(DataplaneError::NoLink {
            device: device.to_owned(),
        });
    };
    match link.pin(path) {
        Ok(_pinned) => Ok(()),
        Err(source) => Err(DataplaneError::Pin {
            device: device.to_owned(),
            source,
        }),
    }
}

/// Detaches the pinned link's program at once, and removes the pin.
pub fn detach(path: &Path) -> Result<(), DataplaneError> {
    open_pin(path)
        .and_then(|link| detach_link(&link))
        .map_err(|source| DataplaneError::Path {
            action: "detach the link",
            path: path.into(),
            source,
        })?;
    remove_pin(path)
}

/// Replaces the program of a pinned link; `false` when the link's device is gone.
fn take_over(program: &mut Xdp, path: &Path, device: &str) -> Result<bool, DataplaneError> {
    let unusable = |source| DataplaneError::Link {
        device: device.to_owned(),
        source,
    };
    let pinned = PinnedLink::from_pin(path).map_err(unusable)?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(unusable)?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // The pin keeps the link; this process's own descriptor is not needed.
            let link = program
                .take_link(id)
                .map_err(|source| explain(device, source))?;
            if let Ok(link) = FdLink::try_from(link) {
                drop(link);
            }
            Ok(true)
        }
        Err(ProgramError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error(),
                Some(libc::ENOLINK | libc::ENODEV)
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(explain(device, source)),
    }
}

fn remove_pin(path: &Path) -> Result<(), DataplaneError> {
    fs::remove_file(path).map_err(|source| DataplaneError::Path {
        action: "remove the pin",
        path: path.into(),
        source,
    })
}

/// Opens what is pinned here. (aya keeps the descriptor of a link to itself.)
fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    /// `struct { pathname; bpf_fd; file_flags }` of `union bpf_attr`.
    #[repr(C)]
    struct ObjectGet {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    let attr = ObjectGet {
        pathname: name.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the kernel reads the attribute and the string, both of which outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const attr,
            size_of::<ObjectGet>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Takes the link's program off its device now, whoever else holds the link: closing alone would
/// leave that to a time of the kernel's choice.
fn detach_link(link: &OwnedFd) -> io::Result<()> {
    let attr = link.as_raw_fd() as u32;
    // SAFETY: the kernel reads four bytes, which is what the command's attribute is: the link's fd.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            &raw const attr,
            size_of::<u32>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn explain(device: &str, source: ProgramError) -> DataplaneError {
    let device = device.to_owned();
    let errno = if let ProgramError::SyscallError(error) = &source {
        error.io_error.raw_os_error()
    } else {
        None
    };
    match errno {
        Some(libc::EOPNOTSUPP) => DataplaneError::NotNative { device, source },
        Some(libc::EBUSY | libc::EEXIST) => DataplaneError::Busy { device, source },
        _ => DataplaneError::Attach { device, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_names_the_device_and_the_mode_of_its_link() {
        let path = link_path(Path::new("/pins"), 7, XdpMode::Generic);
        assert_eq!(path, Path::new("/pins/link-7-generic"));
        assert_eq!(ifindex_of("link-7-generic"), Some(7));
        assert_eq!(ifindex_of("link-7"), None);
        assert_eq!(ifindex_of("STATE"), None);
    }
}
