//! The Lambda function `bind-card-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<bind_card_worker::BindCardWorker>()
}
