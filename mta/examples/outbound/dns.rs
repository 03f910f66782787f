//! A name server for the destinations: each domain `dN.example` has the mail exchanger `mx.dN.example` at 127.2.x.y.

use std::net::UdpSocket;

const A: u16 = 1;
const MX: u16 = 15;

/// Starts it on a port of loopback; it runs as long as the process.
pub fn start() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    port
}

/// Answers a query (RFC 1035, 4.1); what is not known has no records.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(end)?);
        end += 1;
        if length == 0 {
            break;
        }
        labels.push(query.get(end..end + length)?.to_ascii_lowercase());
        end += length;
    }
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let question = query.get(12..end + 4)?;
    let number = |label: &[u8]| -> Option<u16> {
        std::str::from_utf8(label)
            .ok()?
            .strip_prefix('d')?
            .parse()
            .ok()
    };
    let data = match (kind, labels.as_slice()) {
        // The name that follows `mx` is that of the question, at offset 12.
        (MX, [domain, _]) if number(domain).is_some() => Some(vec![0, 10, 2, b'm', b'x', 0xc0, 12]),
        (A, [mx, domain, _]) if mx == b"mx" => number(domain).map(|number| {
            let [high, low] = number.to_be_bytes();
            vec![127, 2, high, low]
        }),
        _ => None,
    };
    let mut reply = query.get(..2)?.to_vec();
    // A response with authority; one question.
    reply.extend([0x85, 0x80, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    reply.extend(question);
    if let Some(data) = data {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0x0e, 0x10]);
        reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}
