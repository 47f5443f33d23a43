//! What system calls want beside the octets of [`BATCH`] messages: made once, used again and again.
//!
//! ```text
//!  header i → name i      the other's address
//!           → vector i    where the octets are
//!           → control i   control messages
//! ```
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
    vectors: [libc::iovec; BATCH],
    names: [Name; BATCH],
    controls: [Control; BATCH],
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
                (*header).msg_name = (&raw mut (*arrays).names[i]).cast();
                (*header).msg_iov = &raw mut (*arrays).vectors[i];
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*arrays).controls[i]).cast();
            }
        }
        slots
    }

    /// Says where the octets of message `i` are.
    pub(super) fn point(&mut self, i: usize, base: *mut u8, length: usize) {
        // SAFETY: the arrays are whole and ours, indices are checked.
        unsafe { (*self.0.as_ptr()).vectors[i] = libc::iovec { iov_base: base.cast(), iov_len: length } }
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
        // SAFETY: as above. The two are apart, and borrowed as long as `self` is.
        unsafe { (&mut (*self.0.as_ptr()).names[i], &mut (*self.0.as_ptr()).controls[i]) }
    }

    /// Header, name and control buffer of message `i`, as the kernel has written them.
    pub(super) fn written(&self, i: usize) -> (&libc::mmsghdr, &Name, &Control) {
        let arrays = self.0.as_ptr();
        // SAFETY: as above. Nothing is written while `self` is borrowed.
        unsafe { (&(*arrays).headers[i], &(*arrays).names[i], &(*arrays).controls[i]) }
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
