//! Any octets as a datagram, as an authenticated inner packet, and as a packet from the TUN device.
#![no_main]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use turnpike::identity::PrivateKey;
use turnpike::tunnel::peer::{Consumed, Engine};
use turnpike::tunnel::segment::{SPARE, VnetHeader};
use turnpike::tunnel::{
    Arrival, Batch, Hop, Identity, LinkConfig, Manner, Moment, Mtus, Outcome, Path, Routes, Shard, Site, SiteSlot, SocketSlot,
};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const VIA: Path = Path { to: SocketAddr::new(SOURCE, 51820), source: None };

struct Bench {
    shard: Shard,
    peer: Engine,
    packets: Batch<Outcome>,
    out: Batch<Hop>,
    moment: Moment,
}

impl Bench {
    /// A shard with one link and a session, and the far end of it.
    fn new() -> Self {
        let (own, far) = (PrivateKey::from_octets([0x48; 32]), PrivateKey::from_octets([0x58; 32]));
        let moment = Moment { now: Instant::now(), wall: SystemTime::now() };
        let identity = Arc::new(Identity::new(&own));
        let mut shard = Shard::new(0, 1, true, moment);
        shard.set_mtus(Arc::new(Mtus::new(1420, [])));
        shard.set_identity(SocketSlot(0), Some(Arc::clone(&identity)));
        let config = LinkConfig {
            socket: SocketSlot(0),
            identity,
            key: far.public(),
            preshared: None,
            manner: Manner { warm: true, ..Manner::default() },
        };
        let link = shard.add(config, moment.now).expect("room for a link");
        let everything = [("0.0.0.0/0", SiteSlot(0)), ("::/0", SiteSlot(0))];
        let routes = Routes::build(everything.map(|(prefix, site)| (prefix.parse().expect("a prefix"), site)));
        shard.set_routes(
            Arc::new(routes.expect("no prefix twice")),
            vec![Site { links: vec![link], senders: vec![link] }],
        );
        let peer = Engine::new(&Identity::new(&far), &own.public(), None, 9);
        let mut bench = Self { shard, peer, packets: Batch::new(2), out: Batch::new(2), moment };
        bench.shake();
        bench
    }

    fn shake(&mut self) {
        let (mut first, mut last) = ([0; 2048], [0; 2048]);
        let length = self.peer.initiate(&mut first, self.moment.now).expect("room").expect("an initiation");
        self.take(&first[..length]);
        let answer = self.out.entry(0).expect("an answer").1.to_vec();
        let Ok(Consumed::Established(length)) = self.peer.consume(SOURCE, &answer, &mut last, self.moment.now) else {
            panic!("no session")
        };
        self.take(&last[..length]);
    }

    fn take(&mut self, datagram: &[u8]) {
        self.packets.clear();
        self.out.clear();
        let arrival = Arrival { socket: SocketSlot(0), via: VIA, tos: 0, datagram };
        // Which reason it gives is the tests' matter; here it must only give one.
        black_box(self.shard.ingress(arrival, self.moment, &mut self.packets, &mut self.out).is_ok());
        black_box(self.shard.handshake(self.moment, &mut self.out).is_some());
    }

    fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (mut room, mut sealed) = (vec![0; packet.len() + 16], vec![0; packet.len() + 256]);
        room[..packet.len()].copy_from_slice(packet);
        let length = self.peer.seal(&mut room, packet.len(), 1420, &mut sealed, self.moment.now).ok()?;
        sealed.truncate(length);
        Some(sealed)
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    thread_local!(static BENCH: std::cell::RefCell<Bench> = std::cell::RefCell::new(Bench::new()));
    let (way, octets) = input;
    BENCH.with_borrow_mut(|bench| match way % 3 {
        0 => bench.take(octets),
        1 => match bench.seal(octets) {
            Some(datagram) => bench.take(&datagram),
            None => *bench = Bench::new(),
        },
        _ => {
            // The header of a TUN device comes first, so superpackets are made up too.
            let Some((header, packet)) = octets.split_first_chunk() else { return };
            let mut room = vec![0; packet.len() + SPARE];
            room[..packet.len()].copy_from_slice(packet);
            bench.out.clear();
            let (header, moment) = (VnetHeader::from_octets(*header), bench.moment);
            let departure = bench.shard.depart(&header, (&mut room, packet.len()), moment, &mut bench.out);
            match departure {
                Ok(mut departure) => {
                    while bench.shard.forward(&mut departure, &mut room, moment, &mut bench.out) {
                        bench.out.clear();
                    }
                }
                Err(refused) => {
                    bench.packets.clear();
                    bench.shard.tell(refused, packet, moment, &mut bench.packets);
                }
            }
        }
    });
});
