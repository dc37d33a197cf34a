//! What participants are asked by each example, once to the end and once to a refusal and back.

use super::*;

fn letter(to: &str) -> mail::Letter {
    mail::Letter { to: to.to_owned(), subject: "news".to_owned() }
}

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

impl Fair {
    /// One completed and one compensated saga of each example: the first have odd numbers, the second even ones.
    pub(super) async fn with_history() -> Self {
        let mut fair = Self::open().await;
        fair.travels().await;
        fair.transfers().await;
        fair.signups().await;
        fair.imports().await;
        fair.holidays().await;
        assert_eq!(fair.problems().await, Vec::<String>::new());
        fair
    }

    /// Books for one journey in each of these services, and gives back what it costs.
    async fn book(&mut self, saga: Uuid, input: &Value, services: &[(&'static str, &str)]) -> i64 {
        let mut price = 0;
        for (books, step) in services {
            let mut wish: bookings::Book = parse(input);
            wish.units = if *books == "cars" { 1 } else { input["travellers"].as_i64().unwrap_or(1) };
            let booked = bookings::book(&mut self.db, books, &mark(saga, step), &wish).await;
            price += booked.expect("booked").price_cents;
        }
        price
    }

    async fn pay(&mut self, saga: Uuid, amount_cents: i64, step: &str) {
        let hold = parse(&json!({"customer": "customer-0001", "amount_cents": amount_cents}));
        let hold_id = payments::hold(&mut self.db, &mark(saga, "hold"), &hold).await.expect("held").hold_id;
        let capture = payments::Capture { hold_id };
        payments::capture(&mut self.db, &mark(saga, step), &capture).await.expect("captured");
    }

    async fn travels(&mut self) {
        let input = json!({"customer": "customer-0001", "email": "a@b.is", "town": "oddi", "travellers": 2,
                           "days": 3, "car": true});
        let all = [("hotels", "hotel"), ("flights", "flight"), ("cars", "car")];
        let price = self.book(id(1), &input, &all).await;
        self.pay(id(1), price, "pay").await;
        mail::notify(&mut self.db, &mark(id(1), "confirm"), &letter("a@b.is")).await.expect("sent");
        self.ended(id(1), "travel", EndStatus::Completed, &input);
        // The money is not enough, and all three bookings are cancelled.
        self.book(id(2), &input, &all).await;
        let hold = parse(&json!({"customer": "customer-0001", "amount_cents": 500_000}));
        let no = payments::hold(&mut self.db, &mark(id(2), "hold"), &hold).await.expect_err("too little");
        assert_eq!(code(&no), "insufficient_funds");
        for (books, step) in all {
            bookings::cancel(&mut self.db, books, &mark(id(2), step)).await.expect("cancelled");
        }
        self.ended(id(2), "travel", EndStatus::Compensated, &input);
    }

    async fn transfers(&mut self) {
        let input = json!({"from": "a-001", "to": "b-002", "amount_cents": 2_500});
        let amount = |account: &str| banks::Amount { account: account.to_owned(), amount_cents: 2_500 };
        let db = &mut self.db;
        let held = banks::hold(db, "bank_a", &mark(id(3), "hold"), &amount("a-001")).await.expect("held");
        banks::deposit(db, "bank_b", &mark(id(3), "deposit"), &amount("b-002")).await.expect("deposited");
        let settle = banks::Settle { hold_id: held.hold_id };
        banks::settle(db, "bank_a", &mark(id(3), "settle"), &settle).await.expect("settled");
        banks::hold(db, "bank_a", &mark(id(4), "hold"), &amount("a-001")).await.expect("held");
        let no = banks::deposit(db, "bank_b", &mark(id(4), "deposit"), &amount("b-closed")).await;
        assert_eq!(code(&no.expect_err("closed")), "account_closed");
        banks::release(db, "bank_a", &mark(id(4), "hold")).await.expect("released");
        self.ended(id(3), "bank-transfer", EndStatus::Completed, &input);
        self.ended(id(4), "bank-transfer", EndStatus::Compensated, &input);
    }

    async fn signups(&mut self) {
        let input = |name: &str| json!({"name": name, "email": "a@b.is", "plan": "free"});
        let db = &mut self.db;
        let create = parse(&input("anna"));
        let created = accounts::create(db, &mark(id(5), "create"), &create).await.expect("created");
        mail::send(db, &mark(id(5), "ask"), &letter("a@b.is")).await.expect("sent");
        let activate = accounts::Activate { account_id: created.account_id };
        accounts::activate(db, &mark(id(5), "activate"), &activate).await.expect("activated");
        mail::notify(db, &mark(id(5), "welcome"), &letter("a@b.is")).await.expect("sent");
        // Nobody confirms the address.
        accounts::create(db, &mark(id(6), "create"), &parse(&input("egil"))).await.expect("created");
        mail::send(db, &mark(id(6), "ask"), &letter("e@b.is")).await.expect("sent");
        mail::retract(db, &mark(id(6), "ask")).await.expect("retracted");
        accounts::remove(db, &mark(id(6), "create")).await.expect("removed");
        self.ended(id(5), "signup", EndStatus::Completed, &input("anna"));
        self.ended(id(6), "signup", EndStatus::Compensated, &input("egil"));
    }

    async fn imports(&mut self) {
        let rows = |skus: [&str; 2]| {
            let row = |sku: &str| json!({"sku": sku, "price_cents": 990});
            json!({"supplier": "edda", "rows": skus.map(row), "report_to": "a@b.is"})
        };
        let put =
            |import_id: i64, sku: &str| catalogue::Put { import_id, sku: sku.to_owned(), price_cents: 990 };
        let open = catalogue::Open { supplier: "edda".to_owned() };
        let db = &mut self.db;
        let import_id = catalogue::open(db, &mark(id(7), "open"), &open).await.expect("opened").import_id;
        for (step, sku) in [("rows:0", "harp"), ("rows:1", "drum")] {
            catalogue::put(db, &mark(id(7), step), &put(import_id, sku)).await.expect("put");
        }
        let publish = catalogue::Publish { import_id, articles: 2 };
        catalogue::publish(db, &mark(id(7), "publish"), &publish).await.expect("published");
        mail::notify(db, &mark(id(7), "report"), &letter("a@b.is")).await.expect("sent");
        // The second row is there already.
        let import_id = catalogue::open(db, &mark(id(8), "open"), &open).await.expect("opened").import_id;
        catalogue::put(db, &mark(id(8), "rows:0"), &put(import_id, "lyre")).await.expect("put");
        let no =
            catalogue::put(db, &mark(id(8), "rows:1"), &put(import_id, "harp")).await.expect_err("taken");
        assert_eq!(code(&no), "sku_taken");
        catalogue::remove(db, &mark(id(8), "rows:0")).await.expect("removed");
        catalogue::discard(db, &mark(id(8), "open")).await.expect("discarded");
        self.ended(id(7), "import", EndStatus::Completed, &rows(["harp", "drum"]));
        self.ended(id(8), "import", EndStatus::Compensated, &rows(["lyre", "harp"]));
    }

    async fn holidays(&mut self) {
        let holiday = |booking: &str| {
            json!({"booking": booking, "customer": "customer-0002", "email": "a@b.is", "town": "hvammur", "days": 7,
                   "price_cents_each": 90_000, "travellers": [{"name": "anna"}, {"name": "egil", "car": true}]})
        };
        let trip = |booking: &str, name: &str, car: bool| json!({"booking": booking, "customer": name, "town": "hvammur", "days": 7, "car": car});
        let payment = |booking: &str, amount: i64| json!({"booking": booking, "customer": "customer-0001", "amount_cents": amount});
        let (two, three) = (
            [("hotels", "hotel"), ("flights", "flight")],
            [("hotels", "hotel"), ("flights", "flight"), ("cars", "car")],
        );
        for (parent, booking, status) in
            [(9, "b-1", EndStatus::Completed), (10, "b-2", EndStatus::Compensated)]
        {
            let (anna, egil) = (trip(booking, "anna", false), trip(booking, "egil", true));
            self.book(id(100 * parent + 1), &anna, &two).await;
            self.book(id(100 * parent + 2), &egil, &three).await;
            if status == EndStatus::Completed {
                self.pay(id(100 * parent + 3), 180_000, "capture").await;
                let db = &mut self.db;
                mail::notify(db, &mark(id(parent), "confirm"), &letter("a@b.is")).await.expect("sent");
            } else {
                for (child, services) in [(1, &two[..]), (2, &three[..])] {
                    for (books, step) in services {
                        let mark = mark(id(100 * parent + child), step);
                        bookings::cancel(&mut self.db, books, &mark).await.expect("cancelled");
                    }
                }
            }
            self.ended(id(parent), "holiday", status, &holiday(booking));
            self.ended(id(100 * parent + 1), "trip", status, &anna);
            self.ended(id(100 * parent + 2), "trip", status, &egil);
            self.ended(id(100 * parent + 3), "payment", status, &payment(booking, 180_000));
        }
    }
}
