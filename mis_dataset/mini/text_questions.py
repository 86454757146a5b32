"""Plain questions without pictures, each with a short response: does fine-tuning cost what the model knew?

Fourteen families of everyday questions. A family is chosen by how often the base is right on its ``choose`` half
and measured on its ``measure`` half. A line of the bank before and after::

    "France Paris"    (family ``capitals``)
    TextQuestion("text/0", "capitals", "choose", "What is the capital of France? ...", ("Paris",), ())

In a line ``|`` parts spellings that are all right, and ``_`` stands for a space.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Half = Literal["choose", "measure"]


class TextQuestion(NamedTuple):
    """One question.

    Attributes:
        id: ``text/<n>``, n from 0 on.
        family: what kind of question it is, e.g. ``"capitals"``.
        half: ``choose`` or ``measure``; each family is split evenly.
        question: ends with what form the response should have.
        expected: spellings that are right.
        rivals: words of the same kind that would be wrong, e.g. the other option of an either/or.
    """

    id: str
    family: str
    half: Half
    question: str
    expected: tuple[str, ...]
    rivals: tuple[str, ...]


_ONE_WORD = " Answer in one word."

_PAIRS: dict[str, tuple[str, str]] = {
    "capitals": (
        "What is the capital of {}? Answer with the name of the city.",
        """France Paris, Japan Tokyo, Italy Rome, Germany Berlin, Spain Madrid, England London, Russia
        Moscow, China Beijing, Egypt Cairo, Greece Athens, Portugal Lisbon, Ireland Dublin, Austria
        Vienna, Hungary Budapest, Poland Warsaw, Sweden Stockholm, Norway Oslo, Denmark Copenhagen,
        Finland Helsinki, Belgium Brussels, Canada Ottawa, Australia Canberra, Cuba Havana, Peru Lima,
        Chile Santiago, Argentina Buenos_Aires, Kenya Nairobi, Thailand Bangkok, Vietnam Hanoi,
        South_Korea Seoul, the_Philippines Manila, Turkey Ankara, India New_Delhi|Delhi, the_United_States
        Washington, Scotland Edinburgh, Wales Cardiff, Iran Tehran, Iraq Baghdad, Romania Bucharest,
        Bulgaria Sofia, Serbia Belgrade, Croatia Zagreb, Colombia Bogota|Bogotá, the_Czech_Republic Prague""",
    ),
    "continents": (
        "On which continent is {}? Answer with the name of the continent.",
        """France Europe, Japan Asia, Italy Europe, China Asia, Germany Europe, India Asia, Spain Europe,
        Thailand Asia, Poland Europe, Vietnam Asia, Sweden Europe, South_Korea Asia, Norway Europe, Nepal
        Asia, Austria Europe, Mongolia Asia, Kenya Africa, Brazil South_America, Nigeria Africa, Peru
        South_America, Ghana Africa, Chile South_America, Ethiopia Africa, Argentina South_America,
        Morocco Africa, Canada North_America, Tanzania Africa, Mexico North_America, Uganda Africa,
        Bolivia South_America, Algeria Africa, Colombia South_America, Belgium Europe, Laos Asia, Greece
        Europe, Cambodia Asia, Portugal Europe, Bangladesh Asia, Ireland Europe, Malaysia Asia, Finland
        Europe, Pakistan Asia, Zimbabwe Africa, Uruguay South_America""",
    ),
    "languages": (
        "Which language do most people in {} speak?" + _ONE_WORD,
        """France French, Germany German, Japan Japanese, Spain Spanish, Italy Italian, Russia Russian,
        Portugal Portuguese, Greece Greek, Poland Polish, Sweden Swedish, Norway Norwegian, Denmark
        Danish, Finland Finnish, Hungary Hungarian, Turkey Turkish, Mexico Spanish, Brazil Portuguese,
        England English, Australia English, Egypt Arabic, Thailand Thai, Vietnam Vietnamese, South_Korea
        Korean, China Chinese|Mandarin, Austria German, Argentina Spanish, Saudi_Arabia Arabic, Iceland
        Icelandic, Chile Spanish, Romania Romanian, Colombia Spanish, Bulgaria Bulgarian, Cuba Spanish,
        Peru Spanish, the_Netherlands Dutch, the_United_States English, Iraq Arabic, Jordan Arabic,
        Scotland English, New_Zealand English, Bangladesh Bengali|Bangla, Croatia Croatian, Iran
        Persian|Farsi, Jamaica English""",
    ),
    "opposites": (
        "What is the opposite of the word '{}'?" + _ONE_WORD,
        """hot cold, big small|little|tiny, up down, left right, day night, open closed|close|shut, happy
        sad|unhappy, fast slow, old new|young, black white, wet dry, full empty, long short, light
        dark|heavy|darkness, hard soft|easy, in out, high low, young old, early late, rich poor, strong
        weak, clean dirty, loud quiet|soft|silent, inside outside, first last, begin end|finish|stop, win
        lose, buy sell, push pull, above below|under|beneath, near far, thick thin, true false, love hate,
        start stop|end|finish, yes no, wide narrow, deep shallow, asleep awake, before after, remember
        forget, always never, summer winter, empty full""",
    ),
    "plurals": (
        "What is the plural of the word '{}'?" + _ONE_WORD,
        """child children, man men, woman women, foot feet, tooth teeth, mouse mice, goose geese, person
        people|persons, leaf leaves, knife knives, wolf wolves, baby babies, city cities, party parties,
        box boxes, bus buses, dish dishes, church churches, cat cats, dog dogs, book books, tree trees,
        house houses, apple apples, car cars, bird birds, lady ladies, story stories, berry berries,
        cherry cherries, glass glasses, watch watches, brush brushes, fox foxes, potato potatoes, tomato
        tomatoes, hero heroes, loaf loaves, shelf shelves, half halves, wife wives, life lives, country
        countries, butterfly butterflies""",
    ),
    "past": (
        "What is the past tense of the verb '{}'?" + _ONE_WORD,
        """go went, eat ate, run ran, see saw, come came, take took, give gave, make made, know knew, write
        wrote, speak spoke, drive drove, swim swam, sing sang, drink drank, buy bought, bring brought,
        think thought, teach taught, catch caught, find found, sleep slept, keep kept, leave left, feel
        felt, meet met, tell told, sell sold, stand stood, fly flew, grow grew, throw threw, draw drew,
        begin began, break broke, choose chose, walk walked, play played, jump jumped, cook cooked, talk
        talked, look looked, work worked, help helped""",
    ),
    "colours": (
        "What colour is {}?" + _ONE_WORD,
        """the_sky_on_a_clear_day blue, grass green, a_ripe_banana yellow, snow white, coal black,
        a_ripe_lemon yellow, milk white, a_ripe_tomato red, a_ripe_strawberry red, a_carrot orange,
        a_polar_bear white, a_frog green, a_ripe_pumpkin orange, a_fire_engine red, chocolate brown,
        a_cucumber green, a_sunflower yellow, a_flamingo pink, a_crow black, an_elephant grey|gray,
        broccoli green, spinach green, a_ripe_orange orange, a_ripe_cherry red, a_ripe_blueberry blue,
        a_ripe_plum purple, salt white, a_swan white, butter yellow, a_stop_sign red, an_emerald green,
        a_ruby red, a_sapphire blue, cotton white, coffee brown|black, rice white, sugar white, a_raven
        black, the_yolk_of_an_egg yellow|orange, lettuce green, a_lime green, a_ripe_raspberry red, flour
        white, a_chick yellow""",
    ),
    "animals": (
        "{}?" + _ONE_WORD,
        """What_do_you_call_a_young_dog puppy|pup, What_do_you_call_a_young_cat kitten,
        What_do_you_call_a_young_cow calf, What_do_you_call_a_young_sheep lamb,
        What_do_you_call_a_young_horse foal|colt|filly, What_do_you_call_a_young_lion cub,
        What_do_you_call_a_young_bear cub, What_do_you_call_a_young_duck duckling,
        What_do_you_call_a_young_goat kid, What_do_you_call_a_young_kangaroo joey,
        What_do_you_call_a_young_pig piglet, What_do_you_call_a_young_hen chick,
        What_do_you_call_a_young_frog tadpole, What_do_you_call_a_young_swan cygnet,
        What_do_you_call_a_young_goose gosling, What_do_you_call_a_young_deer fawn, Which_animal_says_moo
        cow|cattle, Which_pet_says_meow cat|kitten, Which_pet_says_woof dog|puppy,
        Which_farm_animal_says_oink pig, Which_bird_says_quack duck, Which_bird_says_cock-a-doodle-doo
        rooster|cockerel, Which_big_cat_is_known_for_its_roar_and_its_mane lion, Which_insect_makes_honey
        bee|honeybee|bees, Which_animal_has_a_very_long_neck giraffe, Which_animal_has_a_trunk elephant,
        Which_animal_has_black_and_white_stripes zebra, Which_animal_has_a_pouch_and_jumps kangaroo,
        Which_animal_carries_its_shell_and_is_slow_on_land turtle|tortoise|snail, Which_animal_spins_a_web
        spider, Which_bird_can_turn_its_head_far_around_and_hunts_at_night owl, Which_animal_gives_us_wool
        sheep|lamb, Which_insect_does_a_caterpillar_become butterfly|moth,
        Which_animal_builds_dams_in_rivers beaver, Which_animal_is_called_the_king_of_the_jungle lion,
        Which_black_and_white_bird_lives_in_Antarctica penguin, Which_animal_with_humps_crosses_deserts
        camel, Which_black_and_white_bear_eats_bamboo panda,
        Which_fast_spotted_cat_is_the_fastest_land_animal cheetah, Which_sea_animal_has_eight_arms
        octopus, What_is_the_largest_animal_in_the_sea whale, Which_flying_mammal_sleeps_upside_down bat,
        Which_animal_did_people_ride_before_there_were_cars horse, Which_bird_lays_the_eggs_we_mostly_eat
        hen|chicken""",
    ),
    "next": (
        "{}?" + _ONE_WORD,
        """Which_day_comes_after_Monday Tuesday, Which_day_comes_after_Tuesday Wednesday,
        Which_day_comes_after_Wednesday Thursday, Which_day_comes_after_Thursday Friday,
        Which_day_comes_after_Friday Saturday, Which_day_comes_after_Saturday Sunday,
        Which_day_comes_after_Sunday Monday, Which_day_comes_before_Tuesday Monday,
        Which_day_comes_before_Friday Thursday, Which_day_comes_before_Sunday Saturday,
        Which_day_comes_before_Wednesday Tuesday, Which_day_comes_before_Saturday Friday,
        Which_month_comes_after_January February, Which_month_comes_after_February March,
        Which_month_comes_after_March April, Which_month_comes_after_April May,
        Which_month_comes_after_May June, Which_month_comes_after_June July, Which_month_comes_after_July
        August, Which_month_comes_after_August September, Which_month_comes_after_September October,
        Which_month_comes_after_October November, Which_month_comes_after_November December,
        Which_month_comes_after_December January, Which_month_comes_before_March February,
        Which_month_comes_before_July June, Which_month_comes_before_December November,
        Which_month_comes_before_May April, Which_season_comes_after_winter spring,
        Which_season_comes_after_spring summer, Which_season_comes_after_summer autumn|fall,
        Which_season_comes_after_autumn winter, Which_number_comes_after_one two|2,
        Which_number_comes_after_two three|3, Which_number_comes_after_three four|4,
        Which_number_comes_after_four five|5, Which_number_comes_after_five six|6,
        Which_number_comes_after_six seven|7, Which_number_comes_after_seven eight|8,
        Which_number_comes_after_eight nine|9, Which_number_comes_after_nine ten|10,
        Which_number_comes_after_ten eleven|11, Which_number_comes_after_eleven twelve|12,
        Which_number_comes_after_nineteen twenty|20""",
    ),
    "people": (
        "What do you call a person who {}?" + _ONE_WORD,
        """bakes_bread baker, teaches_at_a_school teacher, flies_a_plane pilot, puts_out_fires
        firefighter|fireman, paints_pictures painter|artist, sings_songs singer, writes_books
        writer|author|novelist, drives_a_bus driver, looks_after_teeth dentist, dances_on_a_stage dancer,
        grows_crops farmer, catches_fish fisherman|angler|fisher, cuts_hair barber|hairdresser|stylist,
        cooks_in_a_restaurant chef|cook, travels_into_space astronaut|cosmonaut, takes_photographs
        photographer, plays_the_piano pianist, sells_meat butcher, treats_sick_animals vet|veterinarian,
        designs_houses architect, acts_in_films actor|actress, swims_in_races swimmer, runs_in_races
        runner|sprinter|racer, plays_the_guitar guitarist, plays_the_drums drummer, plays_the_violin
        violinist, repairs_pipes plumber, works_with_wood carpenter|woodworker, keeps_bees
        beekeeper|apiarist, looks_after_sheep shepherd, serves_food_in_a_restaurant
        waiter|waitress|server, works_in_a_library librarian, studies_the_stars astronomer, repairs_cars
        mechanic, brings_letters postman|mailman|mailcarrier, writes_poems poet, sews_clothes
        tailor|seamstress, does_magic_tricks magician, rules_a_kingdom king|queen|monarch,
        does_scientific_research scientist|researcher, learns_at_a_school student|pupil, sells_flowers
        florist, teaches_a_sports_team coach|trainer, gardens_for_a_living gardener""",
    ),
    "everyday": (
        "{}?" + _ONE_WORD,
        """What_do_bees_make honey, What_does_a_cow_give_us_to_drink milk,
        What_falls_from_clouds_when_it_is_wet rain, What_do_you_wear_on_your_feet_over_socks
        shoes|shoe|boots, What_do_you_use_to_unlock_a_door key|keys, What_do_you_read_that_has_pages
        book|books, What_do_we_breathe air|oxygen, What_does_frozen_water_become ice,
        Which_star_gives_us_daylight sun, What_shines_in_the_sky_at_night_and_circles_the_Earth moon,
        Which_planet_do_we_live_on Earth, Which_planet_is_known_as_the_Red_Planet Mars,
        What_is_the_largest_planet_in_our_solar_system Jupiter, Which_planet_is_famous_for_its_rings
        Saturn, What_tells_the_time_on_your_wrist watch|wristwatch, What_do_you_use_to_cut_paper scissors,
        What_do_you_open_over_your_head_when_it_rains umbrella, Which_part_of_the_body_do_we_see_with
        eyes|eye, Which_part_of_the_body_do_we_hear_with ears|ear, Which_part_of_the_body_do_we_smell_with
        nose, Which_organ_pumps_blood heart, Which_organ_do_we_think_with brain,
        What_do_you_sleep_in_at_night bed, What_do_you_sit_on_at_a_table chair|stool,
        Which_meal_do_we_eat_in_the_morning breakfast, What_do_we_use_to_brush_our_teeth toothbrush,
        What_do_hens_lay eggs|egg, What_is_bread_mostly_made_from flour|wheat,
        Which_fruit_is_used_to_make_cider apple|apples, Which_vegetable_makes_french_fries
        potato|potatoes, Which_white_crystals_make_food_salty salt, What_makes_tea_sweet sugar|honey,
        What_is_the_frozen_season_called winter, What_do_plants_grow_from seeds|seed,
        Which_gas_do_plants_give_off oxygen, Which_metal_is_attracted_to_magnets iron|steel,
        Which_animal_is_a_puppy_when_young dog, What_has_four_wheels_and_an_engine_and_drives_on_roads
        car|automobile, What_two-wheeled_vehicle_do_you_pedal bicycle|bike, What_vehicle_runs_on_rails
        train|tram, Which_building_do_children_go_to_for_lessons school,
        Which_building_do_sick_people_go_to hospital, Which_place_lends_books library,
        What_shows_your_face_when_you_look_in_it mirror""",
    ),
}
"""family -> template and its lines, each what goes into the template and what is expected."""

_OPTIONS: dict[str, tuple[str, str]] = {
    "bigger": (
        "Which is bigger, {} or {}? Answer with one of the two.",
        """an_elephant a_mouse, a_house a_shoe, a_whale a_goldfish, a_car a_coin, a_mountain a_pebble,
        the_sun the_moon, an_ocean a_pond, a_tree a_leaf, a_horse a_rabbit, a_bus a_bicycle, a_city
        a_village, a_cow a_hen, a_watermelon a_grape, a_planet a_football, a_table a_spoon, a_lion an_ant,
        a_ship a_canoe, a_castle a_hut, a_lake a_puddle, a_bear a_squirrel, a_forest a_bush, a_bed
        a_pillow, a_truck a_skateboard, a_giraffe a_frog, a_pumpkin a_cherry, an_airplane a_kite,
        a_country a_town, a_piano a_flute, a_wardrobe a_matchbox, a_camel a_cat, a_door a_key, a_tiger
        a_beetle, a_river a_raindrop, a_train a_scooter, a_church a_tent, a_gorilla a_hamster, a_fridge
        a_cup, a_shark a_shrimp, a_book a_stamp, a_skyscraper a_garage, an_ostrich a_sparrow, a_sofa
        a_stool, a_hippo a_duck, a_bucket a_thimble""",
    ),
    "kind": (
        "Is {0} {1} or {2}? Answer with one of the two.",
        """an_apple:a_fruit:a_vehicle, a_carrot:a_vegetable:an_animal, a_salmon:a_fish:a_bird,
        an_eagle:a_bird:a_fish, a_rose:a_flower:a_metal, iron:a_metal:a_fruit, a_truck:a_vehicle:a_flower,
        a_guitar:an_instrument:a_vegetable, a_hammer:a_tool:a_drink, coffee:a_drink:a_tool,
        a_banana:a_fruit:a_bird, a_sparrow:a_bird:a_vehicle, a_violin:an_instrument:an_animal,
        a_dog:an_animal:a_plant, an_oak:a_tree:a_fish, a_shark:a_fish:a_tree, a_tulip:a_flower:a_tool,
        gold:a_metal:a_bird, tea:a_drink:a_colour, red:a_colour:a_number, seven:a_number:a_colour,
        Monday:a_day:a_month, April:a_month:a_day, France:a_country:a_city, Paris:a_city:a_country,
        a_sofa:furniture:clothing, a_shirt:clothing:furniture, a_bus:a_vehicle:an_insect,
        an_ant:an_insect:a_fruit, football:a_sport:a_language, Spanish:a_language:a_sport,
        a_piano:an_instrument:a_fruit, a_pear:a_fruit:a_metal, a_cabbage:a_vegetable:a_bird,
        silver:a_metal:an_animal, a_wolf:an_animal:a_flower, tennis:a_sport:a_drink,
        milk:a_drink:a_vehicle, a_daisy:a_flower:a_bird, a_penguin:a_bird:a_fruit, July:a_month:a_colour,
        blue:a_colour:a_month, a_wrench:a_tool:an_animal, a_butterfly:an_insect:a_tool""",
    ),
}
"""family -> template and its lines, the right option before the other."""

_SUMS = """1+1 2+1 2+2 3+1 3+2 4+1 3+3 4+2 5+1 4+3 5+2 6+1 4+4 5+3 6+2 7+1 5+4 6+3 7+2 8+1 5+5 6+4 7+3 8+2 9+1 10+1 10+2
6+5 6+6 10+5 7+7 8+8 9+9 10+10 5+6 2+5 3+4 2+7 3+6 1+8 10+4 2+6 3+5 20+10"""
"""44 sums."""

_CLOSED = ("continents", "languages", "colours")
"""Families in which every response of another question is wrong here."""
_UNDECIDED = re.compile(r"\b(both|neither|either|or)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(not|no|never|cannot)\b|n['’]t\b", re.IGNORECASE)
_END = re.compile(r"[.!?](?:\s|$)|\n")


@lru_cache(maxsize=1)
def text_questions() -> tuple[TextQuestion, ...]:
    """Makes the bank: 14 families of 44 questions, half of each family to choose by and half to measure.

    Returns:
        The same 616 questions at every call; halves alternate within a family.
    """
    drafts = [*_pair_questions(), *_option_questions(), *_sum_questions()]
    halves: tuple[Half, Half] = ("choose", "measure")
    return tuple(draft._replace(id=f"text/{number}", half=halves[number % 2]) for number, draft in enumerate(drafts))


def is_right(expected: tuple[str, ...], response: str, rivals: tuple[str, ...] = ()) -> bool:
    """Marks a response by its first sentence.

    Right is a sentence that holds one of the `expected` as a whole word, upper or lower case, unless

    - a word that denies (not, no, never, n't) stands before it;
    - a rival stands before it ("Tokyo, then Paris");
    - a rival stands behind it and the sentence leaves the choice open (both, either, neither, or).

    "An elephant is bigger than a mouse." is right for an elephant, since it is named first. What is right only
    when read backwards ("A mouse is smaller than an elephant.") is marked wrong, for every model alike.

    Args:
        expected: `TextQuestion.expected`.
        response: the decoded text.
        rivals: `TextQuestion.rivals`.

    Returns:
        Whether it is right; False for an empty response.
    """
    sentence = next((part for part in _END.split(response) if part.strip()), "")
    place = _first_place(expected, sentence)
    if place is None:
        return False
    before = sentence[:place]
    # "No" may itself be what is expected, so only what stands before it counts.
    if _DENIAL.search(before) or _first_place(rivals, before) is not None:
        return False
    return _first_place(rivals, sentence) is None or not _UNDECIDED.search(sentence)


def _first_place(words: tuple[str, ...], sentence: str) -> int | None:
    """Where the first of `words` begins in `sentence` as a whole word."""
    found = (re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sentence, re.IGNORECASE) for word in words)
    return min((match.start() for match in found if match), default=None)


def _pair_questions() -> list[TextQuestion]:
    """Questions of `_PAIRS`, without id and half."""
    drafts = []
    for family, (template, lines) in _PAIRS.items():
        pairs = [line.split() for line in lines.split(",")]
        family_words = {word for _, right in pairs for word in right.split("|")} if family in _CLOSED else set()
        for slot, right in pairs:
            question = template.format(_spaced(slot))
            expected = tuple(_spaced(word) for word in right.split("|"))
            rivals = sorted({_spaced(word) for word in family_words} - set(expected))
            named = tuple(rival for rival in rivals if _first_place((rival,), question) is None)
            drafts.append(TextQuestion("", family, "choose", question, expected, named))
    return drafts


def _option_questions() -> list[TextQuestion]:
    """Questions of `_OPTIONS`; in every second pair of questions the right option comes second."""
    drafts = []
    for family, (template, lines) in _OPTIONS.items():
        for number, line in enumerate(lines.split(",")):
            *subject, right, other = (_spaced(word) for word in re.split(r"[\s:]+", line.strip()))
            options = (other, right) if number // 2 % 2 else (right, other)
            question = template.format(*subject, *options)
            draft = TextQuestion("", family, "choose", question, (_bare(right),), (_bare(other),))
            drafts.append(draft)
    return drafts


def _sum_questions() -> list[TextQuestion]:
    """Questions of `_SUMS`; other numbers than the two of the sum are rivals."""
    drafts = []
    for line in _SUMS.split():
        first, second = (int(number) for number in line.split("+"))
        total = first + second
        rivals = tuple(str(n) for n in range(41) if n not in (first, second, total))
        question = f"What is {first} plus {second}? Answer with a number."
        expected = (str(total), *([_NUMBERS[total]] if total < len(_NUMBERS) else []))
        drafts.append(TextQuestion("", "sums", "choose", question, expected, rivals))
    return drafts


_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _spaced(words: str) -> str:
    return words.replace("_", " ")


def _bare(option: str) -> str:
    """An option without its article."""
    return re.sub(r"^(an?|the) ", "", option)
