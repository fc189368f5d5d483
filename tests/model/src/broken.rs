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
    /// A key whose operation has no row any more is taken for a new one, though the card carries the operation's mark.
    GoneIsNew,
    /// A refused increment is not looked for once more, and one that another copy of its request has recorded is not known.
    IncrementLooksOnce,
    /// Entries that SQS refuses are told as not sent, though a try before had no answer, or another copy of the request
    /// may have sent them.
    TakenToldNotSent,
    /// A wrong PIN counts again when its answer is lost, and when its request is repeated.
    TryCountsAgain,

    /// That fewer than a few were wrong is seen when the person's row is read, and no condition of the verdict's write.
    TriesCheckedBefore,
    /// That a lock has ended is written whatever the row is by now.
    LockEndsUnguarded,
    /// Each lock lasts as long as the one before.
    LocksAlike,
    /// A right PIN does not end a row of locks.
    LengthStays,
    /// That an hour has room for a wrong PIN is seen when its row is read, and no condition of its write.
    HourCheckedBefore,
    /// A try of a PIN that was found locked is judged all the same, and not counted in the hour.
    LockedIsJudged,
    /// For a right PIN the hour needs no room.
    RightIsNotCounted,
    /// The hour has room for right PINs, too, but counts wrong ones alone.
    WrongAloneIsCounted,

    // Every worker.
    /// The message is let go before its events are out.
    LetsGoBeforePublishing,
    /// Cards, items and the bulk are changed before it is known that the operation has a row.
    EffectBeforeOperation,
    /// An operation is taken for that of a message by its ID alone, though its key was used again.
    AnyAcceptance,

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
    /// "Mine already" is asked of the card that is read first, alone.
    MineOfFirstRead,
    /// It is asked of the card that is read last, alone.
    MineOfLastRead,

    // Orders.
    /// Only the delivery that changed an order notes it beside its operation.
    NotesOrderOnce,
    /// An operation counts an order that ended each time that it is told so.
    CountsOrderAgain,
    /// The end of an order is told, and then noted beside its operation.
    TellsBeforeNoting,

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
    /// A page of a plan is not known as planned, and is planned again by every copy of its message; and the message of the
    /// next page is sent with the page's chunks.
    PlansAgain,
    /// The plan of an operation is forgotten although nothing is left but to end it.
    ForgetsComplete,
    /// A card's event is published before the card can be seen.
    CreateBeforeCard,
    /// A card that an item names, and that cannot be seen yet, is told as missing.
    CardToBeIsMissing,
    /// That a start has ended, or was refused, is not said.
    EndOfStartUntold,
    /// An end that another delivery wrote is said before the bulk's header shows it.
    EndBeforeHeader,
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
    /// The operation is begun by one write, the bulk's header changed by another.
    BeginsInTwoWrites,
    /// The operation is ended by one write, the bulk's header changed by another.
    EndsInTwoWrites,
    /// The bulk's header is written whatever it is by now.
    EndsOnOldHeader,
    /// Only who ended the operation says so.
    EndSaidOnce,
}
