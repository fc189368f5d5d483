//! The ways in which the protocol can be broken on purpose.

/// A change of the protocol that makes it wrong; each is caught by the checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The protocol as it is.
    Nothing,

    // The endpoint.
    /// The message is sent before the operation has its row.
    SendsBeforeRow,
    /// A replay that finds the operation PENDING only answers.
    ReplayOnlyAnswers,

    // Every worker.
    /// The message is let go before its events are out.
    LetsGoBeforePublishing,

    // Binds.
    /// The success is published before the card is written.
    PublishesBeforeWriting,
    /// "Mine already" is asked of the card's status.
    MineByStatus,
    /// A refusal is not stored, but found anew at each delivery.
    RefusalNotStored,
    /// The event of a replaced card says what the card is now, not what its mark remembers.
    EventOfStatus,
    /// A reissue writes one card, then the other.
    ReissueInTwoWrites,
    /// "Mine already" is asked of the card that is read first.
    MineOfFirstRead,

    // Going through a bulk.
    /// Cards are issued whatever the item is by now.
    IssuesUnguarded,
    /// Items and cards are canceled whatever they are by now.
    CancelsUnguarded,
    /// A FULL cancel does not seal the bulk.
    PlansWithoutSeal,
    /// Every plan message says anew which batches count.
    BatchesOfEachPlan,
    /// The number of chunks is set before the last of them are sent.
    TotalBeforeChunks,
    /// The same, and a plan that finds it set takes itself for done.
    PlannedOnceTotalIsSet,
    /// An item is said to be held without one more look.
    HeldWithoutLook,
    /// Of an item that is held and has a card, only the item is looked at once more.
    HeldLooksAtItemAlone,
    /// A chunk is given up while other deliveries of it may still cancel its items.
    HeldSaidAtOnce,
    /// A chunk's result is put over an earlier one.
    ResultOverwritten,
    /// A chunk is counted off before its events are out.
    CountsOffBeforePublishing,
    /// A chunk is counted off each time that it is delivered.
    CountsOffAgain,
    /// The operation is ended by one write, the bulk's header changed by another.
    EndsInTwoWrites,
    /// The bulk's header is written whatever it is by now.
    EndsOnOldHeader,
    /// Only who ended the operation says so.
    EndSaidOnce,
}
