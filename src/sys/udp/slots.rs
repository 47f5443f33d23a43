//! What system calls want beside the octets of [`BATCH`] messages: made once, used again and again.
//!
//! ```text
//!  header i → part i: vector    where the octets are
//!                     name      the other's address
//!                     control   control messages
//! ```
//!
//! What one message needs stands side by side: a lone one, which finds nothing of this in the processor's caches,
//! touches two pages of memory and not four.
//!
//! All stands in one piece of memory that never moves, so the headers' pointers are written once. Only lengths change
//! from call to call, and what a send says.

use std::fmt;
use std::ptr::NonNull;

use super::BATCH;
use super::control::Control;
use super::name::Name;

/// The slots. A header may be given to the kernel when its vector points to octets that live until after the call.
pub(super) struct Slots(NonNull<Arrays>);

// SAFETY: the memory belongs to the slots alone. Pointers in it lead into it, or to octets that are touched only by the
// call for which they were set.
unsafe impl Send for Slots {}

struct Arrays {
    headers: [libc::mmsghdr; BATCH],
    parts: [Part; BATCH],
}

struct Part {
    vector: libc::iovec,
    name: Name,
    control: Control,
}

impl Slots {
    pub(super) fn new() -> Self {
        // SAFETY: the arrays consist of integers and raw pointers, of which all zeros is a value.
        let arrays: Box<Arrays> = unsafe { Box::new_zeroed().assume_init() };
        let slots = Self(NonNull::from(Box::leak(arrays)));
        let arrays = slots.0.as_ptr();
        for i in 0..BATCH {
            // SAFETY: `arrays` is whole and ours, indices are checked. The pointers are made from `arrays` without a
            // reference in between, so that they stay valid as long as it does.
            unsafe {
                let header = &raw mut (*arrays).headers[i].msg_hdr;
                (*header).msg_name = (&raw mut (*arrays).parts[i].name).cast();
                (*header).msg_iov = &raw mut (*arrays).parts[i].vector;
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*arrays).parts[i].control).cast();
            }
        }
        slots
    }

    /// Says where the octets of message `i` are.
    pub(super) fn point(&mut self, i: usize, base: *mut u8, length: usize) {
        // SAFETY: the arrays are whole and ours, indices are checked.
        unsafe { (*self.0.as_ptr()).parts[i].vector = libc::iovec { iov_base: base.cast(), iov_len: length } }
    }

    /// Says how long name and control messages of message `i` are, or may become.
    pub(super) fn limit(&mut self, i: usize, name: libc::socklen_t, control: usize) {
        // SAFETY: as above. The reference ends with the function.
        let header = unsafe { &mut (*self.0.as_ptr()).headers[i].msg_hdr };
        header.msg_namelen = name;
        header.msg_controllen = control;
    }

    /// Name and control buffer of message `i`, to write to.
    pub(super) fn parts(&mut self, i: usize) -> (&mut Name, &mut Control) {
        // SAFETY: as above. It is borrowed as long as `self` is.
        let part = unsafe { &mut (*self.0.as_ptr()).parts[i] };
        (&mut part.name, &mut part.control)
    }

    /// Header, name and control buffer of message `i`, as the kernel has written them.
    pub(super) fn written(&self, i: usize) -> (&libc::mmsghdr, &Name, &Control) {
        let arrays = self.0.as_ptr();
        // SAFETY: as above. Nothing is written while `self` is borrowed.
        let (header, part) = unsafe { (&(*arrays).headers[i], &(*arrays).parts[i]) };
        (header, &part.name, &part.control)
    }

    /// Says how long message 0 is: a system call for one message does not write that.
    pub(super) fn set_length(&mut self, length: usize) {
        // SAFETY: the arrays are whole and ours.
        unsafe { (*self.0.as_ptr()).headers[0].msg_len = libc::c_uint::try_from(length).unwrap_or(0) }
    }

    /// The headers, for a system call: [`BATCH`] of them.
    pub(super) fn headers(&mut self) -> *mut libc::mmsghdr {
        // SAFETY: the arrays are whole and ours; no reference is made.
        unsafe { (&raw mut (*self.0.as_ptr()).headers).cast() }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the arrays came out of a box, and nobody has them but this.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Slots").finish_non_exhaustive()
    }
}
