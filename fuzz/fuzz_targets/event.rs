//! Any octets as a line of recorded events: read, it is written as an event that reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::event::Event;

fuzz_target!(|line: &[u8]| {
    if let Some(event) = Event::from_json(line) {
        let line = event.to_json_line().expect("a line");
        assert_eq!(Event::from_json(&line), Some(event));
    }
});
