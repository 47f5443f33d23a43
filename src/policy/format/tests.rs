//! Facts of the form, each with its inverse: a form stays as it is.

use super::*;

fn formatted(text: &str) -> String {
    format("councils/leeds.toml", text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// What is written becomes `form`, which stays.
#[track_caller]
fn becomes(text: &str, form: &str) {
    assert_eq!(formatted(text), form);
    assert_eq!(formatted(form), form);
}

#[test]
fn keys_come_into_the_formats_order_with_their_comments() {
    becomes(
        "[[hub]]\ndevice='eth0'# WAN\n# literal addresses\nendpoints=[ '192.0.2.1:51820' ]\nname   =   \"hub-a\"\n",
        "[[hub]]\nname = \"hub-a\"\n# literal addresses\nendpoints = [\"192.0.2.1:51820\"]\n\
         device = \"eth0\"                      # WAN\n",
    );
}

#[test]
fn unknown_keys_come_last_as_they_are_written() {
    becomes("[[hub]]\nb = 1\na = 2\nname = \"x\"\n", "[[hub]]\nname = \"x\"\nb = 1\na = 2\n");
}

#[test]
fn no_key_moves_over_a_comment_that_stands_alone() {
    becomes(
        "[[class]]\nlease = \"72h\"\n\n# Names are for agreements.\n\n\nname = \"routine\"\n",
        "[[class]]\nlease = \"72h\"\n\n# Names are for agreements.\n\nname = \"routine\"\n",
    );
}

#[test]
fn tables_stay_in_their_order_and_one_blank_line_parts_them() {
    becomes(
        "[[service]]\nname = \"a\"\n[[department]]\nname = \"b\"\n\n\n\n[[service]]\nname = \"c\"",
        "[[service]]\nname = \"a\"\n\n[[department]]\nname = \"b\"\n\n[[service]]\nname = \"c\"\n",
    );
}

#[test]
fn comments_between_tables_stay_with_what_they_stand_at() {
    becomes(
        "# The file.\n\n# The council.\n[council] # here\nname = \"a\"\n# the end of the council\n\n\n# alone\n\n# an edge\n[[edge]]\nname = \"b\"\n# the end",
        "# The file.\n\n# The council.\n[council]                            # here\nname = \"a\"\n# the end of the council\n\n# alone\n\n\
         # an edge\n[[edge]]\nname = \"b\"\n# the end\n",
    );
}

#[test]
fn a_list_breaks_when_it_is_too_long_and_closes_when_it_is_not() {
    let ports = |first: &str| {
        let rest = (1..10).map(|port| format!("\"tcp/{}\"", 100 + port));
        std::iter::once(format!("\"{first}\"")).chain(rest).collect::<Vec<_>>()
    };
    let (short, long) = (ports("tcp/10000"), ports("sctp/10000"));
    let one = format!("[[service]]\nports = [{}]\n", short.join(", "));
    assert_eq!(one.lines().last().map(str::len), Some(120));
    becomes(&format!("[[service]]\nports = [\n{},\n]\n", short.join(",\n\n")), &one);
    let lines: String = long.iter().map(|port| format!("  {port},\n")).collect();
    becomes(&format!("[[service]]\nports = [{}]\n", long.join(",")), &format!("[[service]]\nports = [\n{lines}]\n"));
}

#[test]
fn comments_in_a_list_keep_it_open_and_stay_at_their_items() {
    becomes(
        "[[service]]\nhosts = [ # both\n'10.0.0.1', # old\n\n# new\n'10.0.0.2' # for now\n , '10.0.0.3'\n# no more\n] # end\n",
        "[[service]]\nhosts = [\n  # both\n  \"10.0.0.1\",                        # old\n\n  # new\n  \
         \"10.0.0.2\",                        # for now\n  \"10.0.0.3\",\n  # no more\n]                                    # end\n",
    );
}

#[test]
fn two_uplinks_stand_below_each_other_and_one_does_not() {
    becomes(
        "[[edge]]\nuplinks = [{device='eth0',name='fibre'}, {name='lte',device='wwan0'}]\n",
        "[[edge]]\nuplinks = [\n  { name = \"fibre\", device = \"eth0\" },\n  { name = \"lte\", device = \"wwan0\" },\n]\n",
    );
    becomes(
        "[[edge]]\nuplinks = [\n  { name = 'fibre', device = 'eth0' },\n]\n",
        "[[edge]]\nuplinks = [{ name = \"fibre\", device = \"eth0\" }]\n",
    );
}

#[test]
fn what_has_a_header_gets_one_and_what_has_none_loses_it() {
    becomes(
        "hub = [{ endpoints = [], name = 'a' }, { name = 'b' }]\nnetwork.name = 'x' # its name\nnetwork.reserved = []\n",
        "[[hub]]\nname = \"a\"\nendpoints = []\n\n[[hub]]\nname = \"b\"\n\n[network]\nname = \"x\"                           # its name\n\
         reserved = []\n",
    );
    becomes(
        "council = { name = 'a', signer = [{ key = 'k', by = 'b' }] }\n",
        "[council]\nname = \"a\"\n\n[[council.signer]]\nby = \"b\"\nkey = \"k\"\n",
    );
    becomes(
        "[[edge]]\nname = 'a'\n[[edge.uplinks]]\nname = 'x'\n[[edge.uplinks]]\nname = 'y'\n[[edge]]\nname = 'b'\n[[edge.uplinks]]\nname = 'z'\n",
        "[[edge]]\nname = \"a\"\nuplinks = [\n  { name = \"x\" },\n  { name = \"y\" },\n]\n\n[[edge]]\nname = \"b\"\nuplinks = [{ name = \"z\" }]\n",
    );
    becomes(
        "[[department]]\nsegment.vlan = 3\nname = 'a'\nsegment.device = 'e'\n[[department]]\n[department.segment]\nvlan = 4\n",
        "[[department]]\nname = \"a\"\nsegment = { device = \"e\", vlan = 3 }\n\n[[department]]\nsegment = { vlan = 4 }\n",
    );
}

#[test]
fn a_comment_inside_keeps_a_table_as_it_is_written() {
    becomes(
        "[[department]]\nname = 'a'\n\n[department.segment] # wide\ndevice = 'e'\n",
        "[[department]]\nname = \"a\"\n\n[department.segment]                 # wide\ndevice = \"e\"\n",
    );
    becomes("hub = [ # one\n{ name = 'a' } ]\n", "hub = [\n  # one\n  { name = \"a\" },\n]\n");
    becomes(
        "[[department]]\nsegment = { vlan = 3, # ours\ndevice = 'e' }\nname = 'a'\n",
        "[[department]]\nname = \"a\"\nsegment = {\n  vlan = 3,                          # ours\n  device = \"e\",\n}\n",
    );
}

#[test]
fn strings_are_quoted_twice_where_that_takes_no_escape() {
    becomes(
        "[[test]]\nwhy = 'plain'\n'from' = '''a'''\n\"to\" = 'C:\\x'\n\"a b\" = \"\\u202e\"\n'b\"' = '''\nx\n'''\n",
        "[[test]]\n\"from\" = \"a\"\nto = 'C:\\x'\nwhy = \"plain\"\n\"a b\" = \"\\u202e\"\n'b\"' = '''\nx\n'''\n"
            .replace("\"from\"", "from")
            .as_str(),
    );
}

#[test]
fn dates_have_t_and_z_and_numbers_stay() {
    becomes(
        "as_of = 2026-06-01 10:00:00z\n[[test]]\nat = 2026-06-01t10:00:00+01:00\nport = 0x1bb\n",
        "as_of = 2026-06-01T10:00:00Z\n\n[[test]]\nport = 0x1bb\nat = 2026-06-01T10:00:00+01:00\n",
    );
}

#[test]
fn line_ends_of_windows_become_line_feeds_outside_of_strings() {
    becomes(
        "# a\r\n[council]\r\nname = 'b' # c\r\n\r\n",
        "# a\n[council]\nname = \"b\"                           # c\n",
    );
}

#[test]
fn what_holds_nothing_is_empty() {
    becomes("\n\n  \n", "");
    becomes("\n# alone  \n\n", "# alone\n");
    becomes("[council]\n\n\n[[edge]]", "[council]\n\n[[edge]]\n");
}

#[test]
fn numbers_that_were_given_out_stay_as_allot_wrote_them() {
    let text = "[council]\ntitle=1\nname = 2\n";
    assert_eq!(format("allotted.toml", text.as_bytes()).as_deref(), Ok(text));
    assert_eq!(format("-", text.as_bytes()).as_deref(), Ok(text));
    assert_ne!(formatted(text), text);
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_every_place() {
    let Err(FormatError::Syntax(found)) = format("network.toml", b"[network\nname = \"x\"\n[[hub]]\nname = \n") else {
        panic!("it is no TOML")
    };
    let lines: Vec<u32> = found.iter().map(|finding| finding.origin.line).collect();
    assert!(lines.contains(&1) && lines.contains(&4), "{lines:?}");
    let Err(FormatError::Syntax(found)) = format("network.toml", b"# one\n# \xff\n") else { panic!("it is no UTF-8") };
    assert_eq!((found[0].code, found[0].origin.line), (Code::NotUtf8, 2));
}

#[test]
fn a_files_tables_tell_its_kind() {
    let kind = |text: &str| guess(&text.parse().expect("TOML"));
    assert_eq!(kind("[network]\n"), Some(Kind::Network));
    assert_eq!(kind("[council]\nname = \"a\"\n"), Some(Kind::Council));
    assert_eq!(kind("[agreement]\nid = \"A-1\"\n"), Some(Kind::Agreement));
    assert_eq!(kind("[[test]]\n"), Some(Kind::Tests));
    assert_eq!(kind("[council]\nleeds = 1\n"), Some(Kind::Allotted));
    assert_eq!(kind("[department]\n\"a/b\" = { number = 1 }\n"), Some(Kind::Allotted));
    assert_eq!(kind("x = 1\n"), None);
}
