//! The Lambda function `cancel-orders-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<cancel_orders_worker::CancelOrdersWorker>()
}
