# $name (String): the visitor, as in ?name=Ada
greeting = Hallo, { $name }!
greeting-stranger = Guten Tag!
# $count (Number): unread messages
unread = { $count ->
    [0] Sie haben keine ungelesenen Nachrichten.
    [one] Sie haben eine ungelesene Nachricht.
   *[other] Sie haben { $count } ungelesene Nachrichten.
}
choose = Sprache wählen: /language/en, /language/de, /language/fr, /language/ja
