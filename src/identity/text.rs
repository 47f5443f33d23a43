//! Text that is shown to people: what in it would steer their terminal.

/// Whether a character would steer a terminal: control characters, changes of direction, what has no width.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
