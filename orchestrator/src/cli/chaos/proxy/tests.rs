//! The proxy on real sockets: a server that answers each line with the same line.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;

/// How long what must come may take.
const SOON: Duration = Duration::from_secs(10);

/// A server that sends back what it is sent, and tells of each connection's end.
async fn echo() -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                drop(socket);
                let _ = tell.send(()).await;
            });
        }
    });
    (address, told)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn to(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.address).await.expect("connected")))
    }

    async fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.expect("written");
    }

    /// The next line; nothing at the end of the connection, whether it is polite or not.
    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(SOON, self.0.read_line(&mut line)).await.expect("an answer or an end");
        read.ok().filter(|read| *read > 0).map(|_| line.trim().to_owned())
    }

    async fn works(&mut self) -> bool {
        self.say("hello").await;
        self.hear().await.as_deref() == Some("hello")
    }
}

async fn until(proxy: &Proxy, what: impl Fn(Done) -> bool) {
    let waited = timeout(SOON, async {
        while !what(proxy.done()) {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{:?}", proxy.done());
}

#[tokio::test]
async fn unhurt_it_carries_everything_and_the_farewell() {
    let (server, mut ends) = echo().await;
    let proxy = Proxy::start(server).await.expect("started");
    let mut client = Client::to(&proxy).await;
    assert!(client.works().await);
    let long = "x".repeat(1_000_000);
    let (mut from, mut to) = client.0.get_mut().split();
    let (sent, got) = tokio::join!(
        async {
            to.write_all(long.as_bytes()).await.expect("written");
            to.shutdown().await.expect("closed");
        },
        async {
            let mut got = String::new();
            from.read_to_string(&mut got).await.expect("read");
            got
        }
    );
    assert_eq!(((), long.len()), (sent, got.len()));
    assert!(timeout(SOON, ends.recv()).await.expect("the server was told").is_some());
    assert_eq!(proxy.done(), Done::default());
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_what_comes_until_it_heals() {
    let (server, _ends) = echo().await;
    let proxy = Proxy::start(server).await.expect("started");
    let mut old = Client::to(&proxy).await;
    assert!(old.works().await);
    proxy.hurt(Harm::Cut);
    assert_eq!(old.hear().await, None);
    let mut new = Client::to(&proxy).await;
    assert_eq!(new.hear().await, None);
    assert_eq!(proxy.done(), Done { hurt: 2, reset: 1, refused: 1, ..Done::default() });
    proxy.heal();
    assert!(Client::to(&proxy).await.works().await);
}

#[tokio::test]
async fn a_swallowed_direction_is_silent_and_its_connections_do_not_outlive_it() {
    for way in [Way::ToServer, Way::ToProcess] {
        let (server, _ends) = echo().await;
        let proxy = Proxy::start(server).await.expect("started");
        let mut talks = Client::to(&proxy).await;
        let mut idle = Client::to(&proxy).await;
        assert!(talks.works().await && idle.works().await);
        proxy.hurt(Harm::Swallow(way));
        talks.say("lost").await;
        until(&proxy, |done| done.swallowed == 5).await;
        assert_eq!(proxy.done(), Done { hurt: 1, swallowed: 5, ..Done::default() }, "{way:?}");
        proxy.heal();
        assert_eq!(talks.hear().await, None, "a stream with a hole must not go on");
        assert!(idle.works().await, "one without does");
        assert_eq!(proxy.done().reset, 1);
    }
}

#[tokio::test]
async fn a_held_direction_arrives_in_full_and_in_order_when_it_heals() {
    for way in [Way::ToServer, Way::ToProcess] {
        let (server, _ends) = echo().await;
        let proxy = Proxy::start(server).await.expect("started");
        let mut client = Client::to(&proxy).await;
        assert!(client.works().await);
        proxy.hurt(Harm::Hold(way));
        client.say("one").await;
        client.say("two").await;
        until(&proxy, |done| done.late >= 1).await;
        assert!(timeout(Duration::from_millis(50), client.hear()).await.is_err(), "{way:?}");
        proxy.heal();
        assert_eq!(client.hear().await.as_deref(), Some("one"));
        assert_eq!(client.hear().await.as_deref(), Some("two"));
        assert_eq!((proxy.done().hurt, proxy.done().reset), (1, 0));
    }
}

#[tokio::test]
async fn a_delay_delays_both_ways_and_keeps_the_order() {
    let (server, _ends) = echo().await;
    let proxy = Proxy::start(server).await.expect("started");
    let mut client = Client::to(&proxy).await;
    assert!(client.works().await);
    proxy.hurt(Harm::Delay(Duration::from_millis(60)));
    let asked = Instant::now();
    client.say("slow").await;
    until(&proxy, |done| done.late >= 1).await;
    proxy.heal();
    client.say("fast").await;
    assert_eq!(client.hear().await.as_deref(), Some("slow"), "what is fast does not overtake");
    assert!(asked.elapsed() >= Duration::from_millis(60), "{:?}", asked.elapsed());
    assert_eq!(client.hear().await.as_deref(), Some("fast"));
}

#[tokio::test]
async fn a_slow_close_ends_the_process_s_side_and_leaves_the_server_s_open_until_it_heals() {
    let (server, mut ends) = echo().await;
    let proxy = Proxy::start(server).await.expect("started");
    let mut client = Client::to(&proxy).await;
    assert!(client.works().await);
    proxy.hurt(Harm::SlowClose);
    assert_eq!(client.hear().await, None);
    drop(client);
    assert!(Client::to(&proxy).await.works().await, "new connections are spared");
    assert!(timeout(SOON, ends.recv()).await.expect("and so is their farewell").is_some());
    assert!(timeout(Duration::from_millis(50), ends.recv()).await.is_err(), "the server knows already");
    proxy.heal();
    assert!(timeout(SOON, ends.recv()).await.expect("the server is told").is_some());
    assert_eq!((proxy.done().hurt, proxy.done().reset), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_away_is_a_reset_and_a_dropped_proxy_is_gone() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let proxy = Proxy::start(address).await.expect("started");
    assert_eq!(Client::to(&proxy).await.hear().await, None);
    let (server, _ends) = echo().await;
    let proxy = Proxy::start(server).await.expect("started");
    let mut client = Client::to(&proxy).await;
    assert!(client.works().await);
    drop(proxy);
    assert_eq!(client.hear().await, None);
}
