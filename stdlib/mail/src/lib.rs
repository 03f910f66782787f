//! Mail messages: structure, header editing, delivery status notifications.
