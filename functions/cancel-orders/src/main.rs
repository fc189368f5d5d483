//! The Lambda function `cancel-orders`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<cancel_orders::CancelOrders>()
}
