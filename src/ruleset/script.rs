//! A ruleset as a script that `nft -f` reads, with remarks: for people who want to see what a gateway would hold.
//!
//! Gateways load the JSON form. A test loads both and compares what the kernel then lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::statement::Rule;
use super::table::{Base, Field, Key, Set, Value, text};
use super::{FAMILY, Ruleset, guardrails, marks};
use crate::identity::Id;

/// What is said about numbers: a line each, without control characters.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    /// About agreements, by number.
    pub agreements: BTreeMap<u32, String>,
    /// About departments, by number.
    pub departments: BTreeMap<u32, String>,
    /// About guardrails, by id.
    pub guardrails: BTreeMap<Id, String>,
}

/// A form of JSON that has no words here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nft's language for this is not known: {0}")]
pub struct Wordless(String);

impl Ruleset {
    /// Writes the table down.
    ///
    /// # Errors
    /// [`Wordless`]: a statement that was added without its words, which a test of every kind would show.
    pub fn script(&self, remarks: &Remarks) -> Result<String, Wordless> {
        let table = &self.table;
        let mut script = format!("table {FAMILY} {} {{\n", table.name);
        for counter in &table.counters {
            writeln!(script, "    counter {counter} {{\n    }}\n").unwrap_or_default();
        }
        for (name, set) in &table.sets {
            script += &set_text(name, set, remarks);
        }
        for (name, chain) in &table.chains {
            writeln!(script, "    chain {name} {{").unwrap_or_default();
            if let Some(base) = chain.base {
                writeln!(script, "        {}", base_text(base)).unwrap_or_default();
            }
            for rule in &chain.rules {
                let remark = rule_remark(rule, remarks).map(|remark| format!("  # {remark}")).unwrap_or_default();
                writeln!(script, "        {}{remark}", rule_text(rule)?).unwrap_or_default();
            }
            script += "    }\n\n";
        }
        Ok(script.trim_end().to_owned() + "\n}\n")
    }
}

fn set_text(name: &str, set: &Set, remarks: &Remarks) -> String {
    let shape = &set.shape;
    let (kind, value) = if shape.map { ("map", " : mark") } else { ("set", "") };
    let mut text = format!("    {kind} {name} {{\n        type {}{value}\n", shape.key.join(" . "));
    let flags: Vec<&str> = [("interval", shape.interval), ("timeout", shape.timeout)]
        .into_iter()
        .filter_map(|(flag, on)| on.then_some(flag))
        .collect();
    if !flags.is_empty() {
        writeln!(text, "        flags {}", flags.join(", ")).unwrap_or_default();
    }
    if shape.counter {
        text += "        counter\n";
    }
    if !set.elements.is_empty() {
        text += "        elements = {\n";
        for (key, value) in &set.elements {
            let remark = element_remark(name, key, *value, remarks);
            let remark = remark.map(|remark| format!("  # {remark}")).unwrap_or_default();
            writeln!(text, "            {},{remark}", element_text(key, *value)).unwrap_or_default();
        }
        text += "        }\n";
    }
    text + "    }\n\n"
}

fn element_text(key: &Key, value: Value) -> String {
    let key = text(key);
    match value {
        Value::Member => key,
        Value::For(seconds) => format!("{key} timeout {seconds}s"),
        Value::Mark(mark) if mark & marks::GATE == 0 => format!("{key} : {mark}"),
        Value::Mark(mark) => format!("{key} : {mark:#010x}"),
    }
}

fn element_remark(set: &str, key: &Key, value: Value, remarks: &Remarks) -> Option<String> {
    let department = |mark: u32| remarks.departments.get(&(mark & marks::DEPARTMENT)).cloned();
    let marked = key.iter().find_map(|field| match field {
        Field::Mark(mark) => Some(*mark),
        Field::Device(_) | Field::Address(_) | Field::Prefix(_) | Field::Number(_) | Field::Range(..) => None,
    });
    match (value, marked) {
        (Value::Mark(agreement), Some(consumer)) => {
            let (agreement, consumer) = (remarks.agreements.get(&agreement)?, department(consumer)?);
            Some(format!("{agreement}, for {consumer}"))
        }
        (Value::Mark(mark), None) => department(mark),
        (Value::Member | Value::For(_), Some(number)) if set == "s_agreement" => {
            remarks.agreements.get(&number).cloned()
        }
        (Value::Member | Value::For(_), Some(mark)) => department(mark),
        (Value::Member | Value::For(_), None) => None,
    }
}

fn base_text(base: Base) -> String {
    let word = |json: Result<Json, serde_json::Error>| json.ok().and_then(|json| json.as_str().map(str::to_owned));
    let kind = word(serde_json::to_value(base.kind)).unwrap_or_default();
    let hook = word(serde_json::to_value(base.hook)).unwrap_or_default();
    let policy = word(serde_json::to_value(base.policy)).unwrap_or_default();
    format!("type {kind} hook {hook} priority {}; policy {policy};", base.priority)
}

fn rule_remark(rule: &Rule, remarks: &Remarks) -> Option<String> {
    rule.iter().find_map(|statement| {
        let json = serde_json::to_value(statement).ok()?;
        let id = guardrails::counted(json.get("counter")?.as_str()?)?;
        Some(remarks.guardrails.get(&id)?.clone())
    })
}

fn rule_text(rule: &Rule) -> Result<String, Wordless> {
    let mut words = Vec::new();
    for statement in rule {
        let json = serde_json::to_value(statement).map_err(|error| Wordless(error.to_string()))?;
        words.push(statement_text(&json).ok_or_else(|| Wordless(json.to_string()))?);
    }
    Ok(words.join(" "))
}

fn statement_text(json: &Json) -> Option<String> {
    let (word, value) = json.as_object()?.iter().next()?;
    let target = || Some(format!("{word} {}", value.get("target")?.as_str()?));
    match word.as_str() {
        "accept" | "drop" | "return" | "notrack" => Some(word.clone()),
        "jump" | "goto" => target(),
        "counter" => Some(format!("counter name {}", value.as_str()?)),
        "mangle" => Some(format!("{} set {}", expression(value.get("key")?)?, expression(value.get("value")?)?)),
        "limit" => {
            let (rate, burst) = (value.get("rate")?, value.get("burst")?);
            Some(format!("limit rate {rate}/{} burst {burst} packets", value.get("per")?.as_str()?))
        }
        "log" => {
            let prefix = value.get("prefix")?.as_str()?;
            Some(format!("log prefix \"{prefix}\" group {} snaplen {}", value.get("group")?, value.get("snaplen")?))
        }
        "snat" | "dnat" => {
            let family = value.get("family")?.as_str()?;
            Some(format!("{word} {family} prefix to {}", expression(value.get("addr")?)?))
        }
        "match" => match_text(value),
        _ => None,
    }
}

fn match_text(json: &Json) -> Option<String> {
    let (left, right) = (json.get("left")?, json.get("right")?);
    let device = left.pointer("/meta/key").and_then(Json::as_str).is_some_and(|key| key.ends_with("ifname"));
    let right = match (right, right.as_str()) {
        (Json::Bool(found), _) => if *found { "exists" } else { "missing" }.to_owned(),
        (Json::Array(any), _) => any.iter().map(expression).collect::<Option<Vec<_>>>()?.join(","),
        (_, Some(name)) if device && !name.starts_with('@') => format!("\"{name}\""),
        _ => expression(right)?,
    };
    let operator = match json.get("op")?.as_str()? {
        "!=" => "!= ",
        "==" if left.get("&").is_some() => "== ",
        "==" | "in" => "",
        _ => return None,
    };
    Some(format!("{} {operator}{right}", expression(left)?))
}

fn expression(json: &Json) -> Option<String> {
    match json {
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) => Some(text.clone()),
        Json::Object(fields) => {
            let (word, value) = fields.iter().next()?;
            named(word, value)
        }
        Json::Null | Json::Bool(_) | Json::Array(_) => None,
    }
}

fn named(word: &str, value: &Json) -> Option<String> {
    let text = |field: &str| value.get(field).and_then(Json::as_str);
    let all = |between: &str| {
        let parts: Option<Vec<String>> = value.as_array()?.iter().map(expression).collect();
        Some(parts?.join(between))
    };
    match word {
        "meta" => match text("key")? {
            key @ ("iifname" | "oifname") => Some(key.to_owned()),
            key => Some(format!("meta {key}")),
        },
        "ct" => Some(format!("ct {}", text("key")?)),
        "payload" => Some(format!("{} {}", text("protocol")?, text("field")?)),
        "tcp option" => Some(format!("tcp option {} {}", text("name")?, text("field")?)),
        "prefix" => Some(format!("{}/{}", text("addr")?, value.get("len")?)),
        "range" => all("-"),
        "concat" => all(" . "),
        "set" => {
            Some(format!("{{ {} }}", value.as_array()?.iter().map(member).collect::<Option<Vec<_>>>()?.join(", ")))
        }
        "map" => Some(format!("{} map {}", expression(value.get("key")?)?, expression(value.get("data")?)?)),
        "&" => Some(format!("{} & {}", expression(value.get(0)?)?, bracketed(value.get(1)?)?)),
        "|" => all(" | "),
        "fib" => fib(value),
        _ => None,
    }
}

/// An element of a set in braces, or a pair of a map.
fn member(json: &Json) -> Option<String> {
    match json.as_array().map(Vec::as_slice) {
        Some([key, value]) => Some(format!("{} : {}", expression(key)?, expression(value)?)),
        Some(_) => None,
        None => expression(json),
    }
}

fn bracketed(json: &Json) -> Option<String> {
    let text = expression(json)?;
    Some(if json.get("|").is_some() { format!("({text})") } else { text })
}

fn fib(json: &Json) -> Option<String> {
    let mut flags: Vec<&str> = json.get("flags")?.as_array()?.iter().filter_map(Json::as_str).collect();
    // nft wants the address first.
    flags.sort_by_key(|flag| !flag.ends_with("addr"));
    Some(format!("fib {} {}", flags.join(" . "), json.get("result")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::statement::tests::every_kind;

    #[test]
    fn every_kind_of_statement_has_its_words() {
        let words: Vec<String> = every_kind().into_iter().map(|kind| rule_text(&vec![kind]).expect("words")).collect();
        for text in [
            "iifname \"tp0\"",
            "iifname . meta mark @s_port",
            "oifname != @s_alive",
            "icmp type { 3, 11 }",
            "th dport 5-9",
            "ct state != untracked",
            "ct state new,related",
            "log prefix \"turnpike spoofed\" group 9587 snaplen 96",
            "meta mark & 2147483648 == 2147483648",
            "tcp flags & (syn | ack) == syn",
            "tcp option maxseg size set 1380",
            "meta mark set ip6 saddr map @m_department6",
            "limit rate 50/second burst 50 packets",
            "snat ip prefix to ip saddr map { 192.168.1.0/24 : 100.64.1.0/24, 10.0.0.1 : 100.64.2.1 }",
        ] {
            assert!(words.iter().any(|word| word == text), "{text} is not in {words:#?}");
        }
    }
}
