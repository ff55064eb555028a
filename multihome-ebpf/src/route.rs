//! The kernel's own routes and neighbours, asked for LAN hosts that the controller has not
//! entered: those behind a router in the LAN, and new ones.

use core::{mem, ptr};

use aya_ebpf::{
    bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup, xdp_md},
    helpers,
};
use multihome_common::{
    address::{Address4, Address6},
    port::{self, NO_SLOT},
    uplink::{Hop, HostEntry},
};

use crate::maps::Maps;

/// Address families of the socket API, as the helper wants them (linux/socket.h).
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// What is asked: addresses as the keys of maps, of which IPv4 takes the first half of one word.
///
/// All fields are words, because the structure stands on the stack, where the verifier wants
/// alignment.
#[repr(C, align(8))]
struct Question {
    family: u64,
    ingress: u64,
    source: [u64; 2],
    destination: [u64; 2],
}

/// The LAN host of an IPv4 address, for a packet that came in on device `ingress`.
#[inline(always)]
pub fn host4(
    context: *mut xdp_md,
    ingress: u32,
    source: Address4,
    destination: Address4,
) -> Option<HostEntry> {
    let (source, destination) = (
        [u64::from(source.key()), 0],
        [u64::from(destination.key()), 0],
    );
    host(
        context,
        &Question {
            family: AF_INET,
            ingress: ingress.into(),
            source,
            destination,
        },
    )
}

/// The LAN host of an IPv6 address, for a packet that came in on device `ingress`.
#[inline(always)]
pub fn host6(
    context: *mut xdp_md,
    ingress: u32,
    source: Address6,
    destination: Address6,
) -> Option<HostEntry> {
    let (source, destination) = (source.key(), destination.key());
    host(
        context,
        &Question {
            family: AF_INET6,
            ingress: ingress.into(),
            source,
            destination,
        },
    )
}

/// The helper's structure, aligned so that the compiler may fill it by words.
#[repr(C, align(8))]
struct Query(bpf_fib_lookup);

#[inline(always)]
fn host(context: *mut xdp_md, question: &Question) -> Option<HostEntry> {
    let mut entry = HostEntry::default();
    (ask(context, question, &mut entry) == 0).then_some(entry)
}

/// Asks the kernel; 0 = `entry` is filled. A function of its own, off the way of hosts that are
/// known, because the question needs much stack.
#[inline(never)]
fn ask(context: *mut xdp_md, question: &Question, entry: &mut HostEntry) -> u32 {
    let mut query = mem::MaybeUninit::<Query>::uninit();
    let words = query.as_mut_ptr().cast::<u64>();
    for word in 0..size_of::<Query>() / size_of::<u64>() {
        // Word by word, or the compiler calls a function of its own, whose frame the stack has no room for.
        // SAFETY: the word is the structure's, which is aligned to words and as long as some.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: all of it is zero, which is valid for plain data.
    let query = unsafe { &mut query.assume_init_mut().0 };
    query.family = question.family as u8;
    query.ifindex = question.ingress as u32;
    // The IPv4 address shares its place with the first word of the IPv6 one.
    query.__bindgen_anon_3.ipv6_src = halves(question.source);
    query.__bindgen_anon_4.ipv6_dst = halves(question.destination);
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the program's own, and the kernel writes at most the size it is told.
    let result = unsafe { helpers::bpf_fib_lookup(context.cast(), query, size, 0) };
    // Forwarding switched off, no neighbour yet, a prohibited route: all are the kernel's to treat.
    if result != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return 1;
    }
    let maps = Maps::of(context);
    let Some(port) = port::find(&maps, query.ifindex) else {
        return 1;
    };
    if !port.is_lan() || port.slot == NO_SLOT {
        return 1;
    }
    entry.hop = hop(query);
    entry.mtu = if port.mtu > 0xffff {
        0xffff
    } else {
        port.mtu as u16
    };
    entry.slot = port.slot_to_send();
    0
}

/// The words of a map's key as the helper takes them: the order of bytes in memory stays.
#[inline(always)]
const fn halves(key: [u64; 2]) -> [u32; 4] {
    [
        key[0] as u32,
        (key[0] >> 32) as u32,
        key[1] as u32,
        (key[1] >> 32) as u32,
    ]
}

/// The MACs of an answer.
#[inline(always)]
fn hop(query: &bpf_fib_lookup) -> Hop {
    const SOURCE_AT: usize = mem::offset_of!(bpf_fib_lookup, smac) / 2;
    const DESTINATION_AT: usize = mem::offset_of!(bpf_fib_lookup, dmac) / 2;
    let halves = ptr::from_ref(query).cast::<u16>();
    // The MACs stand at odd multiples of two, and the verifier takes no wider load from there:
    // volatile keeps the compiler from joining these.
    // SAFETY: both fields are six bytes at even offsets of a structure that is aligned to four.
    let half = |at: usize| unsafe { ptr::read_volatile(halves.add(at)) }.to_ne_bytes();
    let mac = |at: usize| {
        let (a, b, c) = (half(at), half(at + 1), half(at + 2));
        [a[0], a[1], b[0], b[1], c[0], c[1]]
    };
    Hop::new(mac(DESTINATION_AT), mac(SOURCE_AT))
}
