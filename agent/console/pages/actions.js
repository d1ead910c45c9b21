// What the driver can do, and the choices that go with it: the words of the core's actions (tests hold them together).
"use strict";

const HANDOVERS = ["recipient", "household", "neighbour", "reception", "front_door", "safe_place", "locker"];
const FAIL_REASONS = ["CUSTOMER_UNAVAILABLE", "ACCESS_PROBLEM", "ADDRESS_NOT_FOUND", "WRONG_ADDRESS", "NO_SAFE_PLACE",
  "BUSINESS_CLOSED", "WRONG_ITEM", "UNSAFE_PLACE", "WEATHER", "ROAD_CLOSED", "VEHICLE_BREAKDOWN", "ACCIDENT",
  "OTP_FAILED", "AGE_CHECK_FAILED", "OUT_OF_TIME", "CUSTOMER_RESCHEDULED", "OTHER"];
const NOT_READY_REASONS = ["PACKAGE_NOT_READY", "STORE_CLOSED"];
const REJECT_REASONS = ["DAMAGED", "MIS_SORT"];
const ABORT_REASONS = ["VEHICLE_BREAKDOWN", "ACCIDENT", "ILLNESS", "OUT_OF_TIME", "WEATHER", "UNSAFE_PLACE", "OTHER"];
const TAGS = ["fuel", "toilet", "break", "traffic", "parking", "wait", "other"];
const AWAY_REASONS = ["pin_wrong", "no_position", "parked_away", "other"];
const MISSING_REASONS = ["not_found", "not_handed_over", "other"];
const LATER_REASONS = ["not_open_yet", "no_parking", "traffic", "other"];
const NO_PHOTO_REASONS = ["recipient_objects", "handed_over", "too_dark", "unsafe", "no_camera", "other"];
const OTHERWISE_REASONS = ["recipient_asked", "label_unreadable", "no_other_way", "other"];
const MISTAKE_REASONS = ["wrong_parcel", "wrong_door", "not_handed_over", "pressed_by_mistake", "other"];
const OWED_REASONS = ["place_closed", "out_of_time", "no_way_back", "other"];
const ITEMS = ["block", "stop", "parcel", "vehicle", "unit", "other"];
const CONTACT_METHODS = ["doorbell", "call", "text", "other"];
const CONTACT_OUTCOMES = ["no_answer", "reached", "other"];

const STOP_ENDED = ["COMPLETED", "PARTIAL", "FAILED", "CANCELLED"];
const MOVABLE = ["LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED", "RETURN_PENDING"];

// What stands on the button, then the fields: [name, label, kind, what it may hold]; an optional one ends in "?".
// Reasons are choices, because nobody types well on a screen in a vehicle.
const ACTIONS = {
  check_in: ["Check in", ["reason?", "Reason, when the position says otherwise", "choice", AWAY_REASONS]],
  start_loading: ["Start loading"],
  mark_missing: ["Parcel is missing", ["parcel_id", "Parcel", "parcel", ["MANIFESTED"]],
    ["reason", "Reason", "choice", MISSING_REASONS]],
  not_ready: ["Parcel is not ready", ["parcel_ids", "Parcel", "parcels", ["MANIFESTED"]],
    ["reason", "Reason", "choice", NOT_READY_REASONS]],
  reject: ["Leave a parcel behind", ["parcel_id", "Parcel", "parcel", ["MANIFESTED", "LOADED"]],
    ["reason", "Reason", "choice", REJECT_REASONS]],
  unload: ["Take a parcel out again", ["parcel_id", "Parcel", "parcel", ["LOADED"]]],
  undo: ["Undo the last scan"],
  adopt: ["Take an unknown parcel along", ["parcel_id", "Parcel", "parcel", ["UNEXPECTED"]]],
  hand_back: ["Hand an unknown parcel back", ["parcel_id", "Parcel", "parcel", ["UNEXPECTED"]]],
  close_loading: ["Close loading"],
  reopen_loading: ["Open loading again"],
  depart: ["Depart"],
  arrive: ["I have arrived", ["reason?", "Reason, when the position says otherwise", "choice", AWAY_REASONS]],
  confirm_location: ["Yes, here"],
  deliver: ["Delivered", ["handover", "Given to, or left at", "choice", HANDOVERS],
    ["reason?", "Reason, when the instruction says otherwise", "choice", OTHERWISE_REASONS],
    ["parcel_ids?", "Only this parcel", "parcels", ["OUT_FOR_DELIVERY"]]],
  contact: ["I tried to reach the recipient", ["method", "How", "choice", CONTACT_METHODS],
    ["outcome", "Outcome", "choice", CONTACT_OUTCOMES]],
  fail: ["Could not deliver", ["reason", "Reason", "choice", FAIL_REASONS], ["note?", "Note", "text"],
    ["parcel_ids?", "Only this parcel", "parcels", ["OUT_FOR_DELIVERY"]]],
  refuse: ["Recipient refuses", ["parcel_ids?", "Only this parcel", "parcels", ["OUT_FOR_DELIVERY"]]],
  skip_photo: ["No photo is possible", ["reason", "Reason", "choice", NO_PHOTO_REASONS]],
  damage: ["Parcel is damaged",
    ["parcel_id", "Parcel", "parcel", ["MANIFESTED", "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED"]]],
  not_in_vehicle: ["Parcel is not in the vehicle",
    ["parcel_id", "Parcel", "parcel", ["LOADED", "OUT_FOR_DELIVERY", "RETURN_PENDING"]]],
  found: ["Parcel is found", ["parcel_id", "Parcel", "parcel", ["MISSING", "UNLOCATED", "LOST"]]],
  lost: ["Parcel is lost", ["parcel_id", "Parcel", "parcel", ["UNLOCATED"]]],
  void: ["Delivery was a mistake", ["parcel_id", "Parcel", "parcel", ["DELIVERED"]],
    ["reason", "Reason", "choice", MISTAKE_REASONS]],
  reattempt: ["Try a parcel again", ["parcel_id", "Parcel", "parcel", ["ATTEMPTED", "RETURN_PENDING"]]],
  return: ["Hand parcels in without scanning", ["site_id", "Place", "site"]],
  transfer: ["Another driver takes a parcel", ["parcel_ids", "Parcel", "parcels", MOVABLE],
    ["driver_id", "Number of the other driver", "text"]],
  start_stop: ["Go to another stop", ["stop_id", "Stop", "stop"]],
  skip_stop: ["Do this stop later", ["reason", "Reason", "choice", LATER_REASONS]],
  suggest_location: ["The pin is wrong: it belongs here"],
  tag_stop: ["Why I am standing", ["kind", "For", "choice", TAGS]],
  pause: ["Take a break"],
  resume: ["Resume"],
  annotate: ["Note", ["item", "About", "choice", ITEMS], ["text", "Note", "text"]],
  abort: ["End the block early", ["reason", "Reason", "choice", ABORT_REASONS]],
  close_block: ["Close the block", ["reason?", "Reason, when parcels go back later", "choice", OWED_REASONS]],
  give_back: ["Give the block back", ["block_id", "Block", "block"]],
  panic: ["Call for help"],
};
const ASK_FIRST = ["abort", "lost", "void", "close_block", "give_back", "accept_offer", "decline_offer"];
const NEVER_FIRST = ["give_back"]; // possible, but not what is to be done now
