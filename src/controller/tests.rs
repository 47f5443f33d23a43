//! Builds in folders of their own.

use std::fs;

use super::*;
use crate::bundle::{Own, Trust, open};
use crate::policy::model::Model;
use crate::policy::sample::{agreement, model};

struct Site {
    _root: tempfile::TempDir,
    out: std::path::PathBuf,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let out = root.path().join("out");
        Self { _root: root, out }
    }

    fn build(&self, model: &Model) -> Built {
        build(model, &self.out).expect("built")
    }

    fn keys(&self) -> std::path::PathBuf {
        key_folder(&self.out).expect("a name")
    }

    fn trust(&self) -> Trust {
        let text = fs::read_to_string(self.keys().join("trust.toml")).expect("a trust file");
        Trust::from_toml(&text).expect("a trust file")
    }
}

fn with_agreement() -> Model {
    Model { agreements: vec![agreement(1, "leeds/sa", &["york/a"])], ..model() }
}

#[test]
fn every_gateway_takes_its_bundle_with_the_keys_made_for_it() {
    let site = Site::new();
    let built = site.build(&with_agreement());
    assert_eq!((built.generation, built.changed, built.keys_made), (1, true, 5));
    for gateway in &built.gateways {
        let bundle = open(&fs::read(&gateway.bundle).expect("a file"), &site.trust()).expect("it opens");
        let held = crate::store::keys::of_gateway(&site.keys().join(gateway.name.as_str())).expect("keys");
        let own =
            Own { identity: None, keys: held.iter().map(|(uplink, key)| (uplink.clone(), key.public())).collect() };
        assert_eq!(bundle.admit(&own, None), Ok(()));
        assert_eq!((gateway.rules, gateway.links), (bundle.policy.rules.len(), bundle.membership.links.len()));
    }
    let names: Vec<_> = built.gateways.iter().map(|gateway| gateway.name.to_string()).collect();
    assert_eq!(names, ["hub-a", "hull-1", "leeds-1", "york-1"]);
}

#[test]
fn an_unchanged_build_writes_nothing_and_a_changed_one_is_one_generation_on() {
    let site = Site::new();
    site.build(&with_agreement());
    let times = |site: &Site| -> Vec<_> {
        let files =
            [site.out.clone(), site.keys()].into_iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
        let stamp = |path: &std::path::Path| fs::metadata(path).expect("a file").modified().expect("a time");
        files.map(|entry| entry.expect("an entry").path()).map(|path| (stamp(&path), path)).collect()
    };
    let before = times(&site);
    let again = site.build(&with_agreement());
    assert_eq!((again.generation, again.changed, again.keys_made), (1, false, 0));
    assert!(again.gateways.iter().all(|gateway| !gateway.written));
    assert_eq!(times(&site), before);
    let changed = site.build(&model());
    assert_eq!((changed.generation, changed.changed), (2, true));
    assert!(changed.gateways.iter().all(|gateway| gateway.written), "every bundle bears the new generation");
    assert_eq!(site.build(&with_agreement()).generation, 3, "old content comes back under a new number");
}

#[test]
fn a_lost_bundle_is_restored_octet_for_octet_in_the_same_generation() {
    let site = Site::new();
    let built = site.build(&with_agreement());
    let path = &built.gateways[0].bundle;
    let whole = fs::read(path).expect("a file");
    fs::write(path, &whole[..100]).expect("damaged");
    fs::remove_file(&built.gateways[1].bundle).expect("removed");
    let again = site.build(&with_agreement());
    assert_eq!((again.generation, again.changed), (1, false));
    assert_eq!(again.gateways.iter().map(|gateway| gateway.written).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(fs::read(path).expect("a file"), whole);
}

#[test]
fn the_generation_does_not_fall_when_its_record_is_lost() {
    let site = Site::new();
    site.build(&model());
    site.build(&with_agreement());
    fs::remove_file(site.keys().join("generation.toml")).expect("removed");
    assert_eq!(site.build(&with_agreement()).generation, 3);
    fs::remove_dir_all(&site.out).expect("removed");
    assert_eq!(site.build(&with_agreement()).generation, 3, "the record alone is enough too");
    fs::write(site.keys().join("generation.toml"), "generation = ").expect("damaged");
    assert!(matches!(build(&model(), &site.out), Err(BuildError::Record { .. })));
}

#[test]
fn another_signing_key_is_another_generation() {
    let site = Site::new();
    site.build(&model());
    fs::remove_file(site.keys().join("signing.pem")).expect("removed");
    let built = site.build(&model());
    assert_eq!((built.generation, built.keys_made), (2, 1));
    assert!(open(&fs::read(&built.gateways[0].bundle).expect("a file"), &site.trust()).is_ok());
}

#[test]
fn the_bundle_of_a_gateway_that_is_gone_is_removed_and_a_strangers_file_is_not() {
    let site = Site::new();
    site.build(&model());
    fs::write(site.out.join("notes.bundle"), "not ours").expect("written");
    let mut fewer = model();
    fewer.edges.retain(|edge| edge.name.as_str() != "york-1");
    fewer.links.retain(|link| link.edge.as_str() != "york-1");
    let built = site.build(&fewer);
    assert_eq!(built.removed, [site.out.join("york-1.bundle")]);
    assert!(site.out.join("notes.bundle").exists() && !site.out.join("york-1.bundle").exists());
}

#[test]
fn no_private_key_stands_in_any_bundle() {
    let site = Site::new();
    let built = site.build(&with_agreement());
    let bundles: Vec<Vec<u8>> = built.gateways.iter().map(|g| fs::read(&g.bundle).expect("a file")).collect();
    let stands = |needle: &[u8]| bundles.iter().any(|octets| octets.windows(needle.len()).any(|part| part == needle));
    for (gateway, _) in crate::policy::keys_needed(&model()) {
        for key in crate::store::keys::of_gateway(&site.keys().join(gateway.as_str())).expect("keys").values() {
            assert!(stands(key.public().to_string().as_bytes()), "the public half does");
            assert!(!stands(key.to_base64().as_bytes()));
            assert!(!stands(key.octets()) && !stands(hex::encode(key.octets()).as_bytes()));
        }
    }
    let pem = fs::read_to_string(site.keys().join("signing.pem")).expect("a key");
    let secret = pem.lines().nth(1).expect("its base64");
    assert!(!stands(secret.as_bytes()) && !stands(&secret.as_bytes()[20..]));
}

#[test]
fn an_unfit_key_stops_the_build_before_anything_is_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    site.build(&model());
    let bundles = || -> Vec<_> {
        let mut files: Vec<_> =
            fs::read_dir(&site.out).expect("a folder").map(|e| e.expect("an entry").path()).collect();
        files.sort();
        files.into_iter().map(|path| fs::read(path).expect("a file")).collect()
    };
    let before = bundles();
    let key = site.keys().join("york-1/fibre.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("changed");
    let refusal = build(&with_agreement(), &site.out).expect_err("readable");
    assert!(matches!(refusal, BuildError::Key(crate::store::keys::KeyFileError::Readable { .. })), "{refusal}");
    assert_eq!(bundles(), before);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
    assert_eq!(site.build(&with_agreement()).generation, 2);
}

#[test]
fn one_build_at_a_time() {
    let site = Site::new();
    site.build(&model());
    let lock = fs::File::open(site.keys().join("lock")).expect("the lock");
    lock.try_lock().expect("free");
    assert_eq!(build(&model(), &site.out), Err(BuildError::InUse(site.keys())));
    drop(lock);
    assert!(build(&model(), &site.out).is_ok());
}

#[test]
fn a_path_without_a_name_is_refused() {
    for path in ["/", "..", ""] {
        assert_eq!(key_folder(path.as_ref()), Err(BuildError::NoName(path.into())));
    }
    assert_eq!(key_folder("a/out/".as_ref()), Ok("a/out.keys".into()));
}
